"""What others' dashboards read: measures by Prometheus' conventions, of any SOURCE."""
