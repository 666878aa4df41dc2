"""Named recipes, against the paper's numbers."""

from bench.cell import Arch, Cell, Recipe
from bench.recipes import EPOCH, RECIPES


def test_cifars_is_that_of_a_recipe_without_a_word():
    assert RECIPES["cifar"].recipe == Recipe()


def test_imagenets_is_section_3_4():
    """shared/paper.md: batch 256, lr 0.1 /10 at plateaus, up to 60e4 iterations, decay 1e-4, sides of [256, 480]."""
    recipe = RECIPES["imagenet"].recipe
    assert (recipe.batch, recipe.lr, recipe.drop_factor, recipe.iterations) == (256, 0.1, 0.1, 600_000)
    assert (recipe.weight_decay, recipe.momentum, recipe.precision) == (1e-4, 0.9, "fp32")
    assert (recipe.crop_size, recipe.scale, recipe.colour, recipe.flip) == (224, (256, 480), "own", True)
    assert (recipe.drops, recipe.plateau > 0, recipe.plateau_on) == ((), True, "running")
    assert (recipe.norm_batch, recipe.last_batch, recipe.eval_every) == (32, "drop", 5_004)
    assert [recipe.learning_rate(599_999, plateaus=n) for n in (0, 1)] == [0.1, 0.1 * 0.1]


def test_the_fixed_schedule_is_in_epochs_of_whole_batches():
    assert EPOCH * 256 <= 1_281_167 < (EPOCH + 1) * 256
    recipe = RECIPES["imagenet-90"].recipe
    rates = [recipe.learning_rate(epoch * EPOCH) for epoch in (0, 29, 30, 59, 60, 89)]
    assert [round(rate, 9) for rate in rates] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert recipe.iterations == 450_360 and not recipe.plateau


def test_a_name_is_no_identity():
    named = RECIPES["imagenet-90"].recipe
    spelled = Recipe(
        iterations=450_360, batch=256, drops=(150_120, 300_240), crop_padding=0, eval_every=5_004, last_batch="drop",
        crop_size=224, scale=(256, 480), colour="own", train_sample=50_000, norm_batch=32,
    )  # fmt: skip
    arch = Arch("imagenet", 18)
    assert Cell(arch, named, "folder:imagenet").id == Cell(arch, spelled, "folder:a/b/imagenet").id


def test_every_recipe_says_what_it_is_and_whose():
    assert all(named.says and named.source for named in RECIPES.values())
