# ---
# title: How often one can halve
# description: Halvings until a number is below one.
# concepts: [gradient-descent]
# ---

# %% [markdown]
# **Question.** How many halvings does 10 take? See [the page](concept:gradient-descent).

# %%
count, x = 0, 10.0
while x >= 1:
    count, x = count + 1, x / 2
print(count)
