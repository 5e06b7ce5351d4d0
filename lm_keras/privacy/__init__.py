"""Differential privacy (DP-SGD): a limit on what the weights of a run can reveal about any unit of its text.

accounting.py  what a run reveals at most         clipping.py      gradients of rows, clipped and summed
guarantee.py   the promise of a run               noise.py         what hides each row in the sum
sampling.py    which units a step sees            private_step.py  what a step and a run ask of all these
key.py         the secret of a run                refusals.py      settings that would break the promise
row_loss.py    the loss of rows                   weight_uses.py  norms and sums of what rows add
attacks.py     canaries and membership: what an attacker finds

Reference: Abadi et al. (2016), "Deep learning with differential privacy".
"""
