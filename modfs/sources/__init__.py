"""Where calls come from that others look at: one home for opening a SOURCE."""
