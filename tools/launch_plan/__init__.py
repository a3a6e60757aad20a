"""What a training configuration costs on a topology, from the program compiled for it.

chips.py: published figures of accelerators. hlo.py: the text of a compiled program as
instructions. costs.py: FLOPs, bytes and collectives of it, loops counted as often as they run.
compiling.py: the train step of a gin configuration compiled ahead of time. roofline.py: seconds.
"""
