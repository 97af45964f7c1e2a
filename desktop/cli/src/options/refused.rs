//! Docker's options that have nothing to do here: refused with the reason, or
//! taken where they ask for what is so anyway.

/// `--platform` of what works with images that are here.
#[derive(clap::Args, Debug)]
pub(crate) struct OnePlatform {
    #[arg(long = "platform", hide = true, value_parser = refuse_platform)]
    _platform: Option<String>,
}

fn refuse_platform(_: &str) -> Result<String, String> {
    Err(
        "an image here is of one platform, and that one is taken: leave --platform out, \
         or fetch the image for another one with `wherry pull --platform`"
            .to_owned(),
    )
}

/// `--disable-content-trust` of what works with registries.
#[derive(clap::Args, Debug)]
pub(crate) struct ContentTrust {
    #[arg(long = "disable-content-trust", hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = refuse_trust)]
    _disabled: Option<String>,
}

fn refuse_trust(value: &str) -> Result<String, String> {
    match value {
        "true" | "1" => Ok(value.to_owned()),
        _ => Err(
            "signatures of Docker Content Trust are not checked: leave it out, \
             and name the image by its digest to be sure of it"
                .to_owned(),
        ),
    }
}
