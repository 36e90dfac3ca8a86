"""The stages of the work as plain functions, one stage a file; ``import hwsim`` offers them as its own.

Each is the command of the same verb: ``quantize_model`` is ``hwsim quantize`` and so on.
"""
