"""`scalepred predict`: the choice without training."""

from scalepred.cli import options


def predict(
    data: options.Data,
    source: options.SourceName = "efficientnet_lite0",
    weights: options.Weights = None,
    recipe: options.RecipeName = None,
    image_px: options.ImagePx = None,
    split_seed: options.SplitSeed = 0,
    train_on: options.TrainOn = None,
    predictor: options.PredictorFolder = None,
    on_bad_image: options.OnBadImage = "skip",
    max_megapixels: options.MaxMegapixels = 64.0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Predict the scale for DATA, and say why, without training."""
    from scalepred.job.options import DataOptions, NetworkOptions

    images = DataOptions(
        split_seed=split_seed, on_bad_image=on_bad_image, max_megapixels=max_megapixels, train_on=train_on
    )
    network = NetworkOptions(
        source=source, weights=weights, recipe=recipe, image_px=image_px, predictor=predictor, device=device
    )
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.cli.progress import progress
    from scalepred.job.choose import choose_scale
    from scalepred.job.setup import set_up
    from scalepred.job.tools import pick_tools

    tools = pick_tools(network, predicts=True)
    with progress("reading images") as bar:
        setup = set_up(data, tools, images, on_progress=bar.update)
    prediction = choose_scale(setup)
    if tools.asked is not None:
        out.note(tools.asked.note)
    if json:
        out.print_json(prediction.to_json())
        return
    render.show_inspection(out.notes(), setup.task.inspection)
    out.console().print(f"recipe: {out.safe(tools.recipe_name)}")
    render.show_choice(out.console(), prediction.choice)
    render.show_probe(out.console(), prediction)
    render.show_curve(out.console(), prediction)
