"""Manual pages and shell completions, made from the command's own definitions and schemas.

``python -m tools.manual FOLDER`` writes them as they lie below /usr/share; a wheel has them too
(tools/build_hook.py).
"""
