"""The kernel's module loader as a library: everything that would be true without a host.

Start with :class:`loader.live.Live`, the engine on real threads.
"""
