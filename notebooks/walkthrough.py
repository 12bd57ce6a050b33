# %% [markdown]
# # A sweep, looked at in a notebook
#
# Begin with `monosweep launch quick --out results --set save_weights=final` (a quarter of an hour on two cores). Open
# this file in an editor that knows `# %%` cells, or as a notebook with `jupytext --to ipynb walkthrough.py`.

# %%
from matplotlib import pyplot as plt

from monosweep.analysis import open_root, plot

root = open_root("results")
root  # its sweeps, how far they are, and why trials failed

# %% [markdown]
# Tables are asked when they are looked at, so each look sees what is trained by then. `.df()`, `.pl()` and `.arrow()`
# make pandas, polars and Arrow tables of them.

# %%
root.trials.filter("lr < 0.01").select("trial_id, lr, bias_offset, seed, loss, mono_per_feature").order("loss")

# %%
few = root.trials.aggregate("lr, bias_offset, avg(mono_per_feature) AS mono, count(*) AS n", by="lr, bias_offset")
few.order("lr, bias_offset").df()

# %% [markdown]
# Anything else is SQL; `?` and `$name` stand for values of yours.

# %%
root.sql("select lr, min(loss) as loss from trials where bias_offset = ? group by lr order by lr", [-1])

# %% [markdown]
# Figures are drawn on axes of yours, and returned to be changed further.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
plot.mono(root, by="lr", ax=left)
plot.loss(root, by="lr", ax=right).set_ylim(bottom=0)
left.set_title("Monosemantic neurons by learning rate")

# %% [markdown]
# The best trial, or any by its id (a tab completes `root.trial["`): what it was trained from, its curve and neurons,
# its weights, and what each neuron answers to each feature.

# %%
best = root.best("mono_per_feature:max", where="loss < 0.4")
best.config

# %%
curve = best.curve.df()
ax = curve.plot(x="step", y=["loss", "n_mono"], logx=True, subplots=True)

# %%
strongest = best.response().max(axis=1)  # (n_neurons,)
best.neurons.filter("r > 0.9").order("bias").df(), strongest.round(2)

# %%
plot.response(best)
