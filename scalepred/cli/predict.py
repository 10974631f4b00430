"""`scalepred predict`: the choice without training."""

from scalepred.cli import options


def predict(
    data: options.Data,
    source: options.SourceName = "efficientnet_lite0",
    weights: options.Weights = None,
    recipe: options.RecipeName = None,
    image_px: options.ImagePx = None,
    split_seed: options.SplitSeed = 0,
    predictor: options.PredictorFolder = None,
    on_bad_image: options.OnBadImage = "skip",
    max_megapixels: options.MaxMegapixels = 64.0,
    device: options.DeviceName = "auto",
    json: options.Json = False,
) -> None:
    """Predict the scale for DATA, and say why, without training."""
    options.check_on_bad_image(on_bad_image)
    options.check_device(device)
    from scalepred.cli import output as out
    from scalepred.cli import render
    from scalepred.data.task import read_task
    from scalepred.job import choose
    from scalepred.networks.architecture import check_takes
    from scalepred.networks.source import load_source
    from scalepred.recipe import at_size
    from scalepred.training.devices import pick_device, pick_dtype

    recipe_name, settings = options.first_recipe(recipe, source, image_px)
    predictors = options.load_predictors(predictor)
    network = load_source(source, weights=weights)
    asked = choose.pick_predictor(predictors, network)
    if recipe is None:
        recipe_name, settings = at_size(*choose.usual_recipe(predictors[asked], network, source), image_px)
    check_takes(network.architecture, image_px=settings.image_px)
    task = render.read(
        read_task,
        data,
        image_px=settings.image_px,
        split_seed=split_seed,
        on_bad_image=on_bad_image,
        max_megapixels=max_megapixels,
    )
    where = pick_device(device)
    dtype = pick_dtype(network, settings, where)
    predicted = choose.predict(task, network, predictors[asked], recipe=settings, device=where, dtype=dtype)
    out.note(options.which_predictor(asked, predictors))
    if json:
        out.print_json(predicted.to_json())
        return
    render.show_inspection(out.notes(), task.inspection)
    out.console().print(f"recipe: {out.safe(recipe_name)}")
    render.show_choice(out.console(), predicted.choice)
    render.show_curve(out.console(), predicted)
