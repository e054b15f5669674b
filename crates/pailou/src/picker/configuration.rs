//! The picker's configuration file, which is llm-d's.

use std::fs;

use pailou_compile::PickerConfiguration;

use crate::{cli::PickerArgs, exit::Error};

/// Reads what the flags name, and logs what is not acted on; `None` without those flags.
///
/// # Errors
/// The file is not there, or its text is wrong.
pub(super) fn read(args: &PickerArgs) -> Result<Option<PickerConfiguration>, Error> {
    let (origin, text) = match (&args.config_file, &args.config_text) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            (path.display().to_string(), text)
        }
        (None, Some(text)) => ("--config-text".to_owned(), text.clone()),
        (None, None) => return Ok(None),
    };
    let configuration =
        PickerConfiguration::parse(&text).map_err(|error| Error::PickerConfiguration(format!("{origin}: {error}")))?;
    configuration.unsupported.iter().for_each(|what| tracing::warn!("{origin}: no effect: {what}"));
    Ok(Some(configuration))
}
