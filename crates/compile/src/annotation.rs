//! Values of annotations.

use pailou_api::Meta;

/// A number from 1 to this one. A value that is none is ignored, with a warning.
pub(crate) fn number(meta: &Meta, annotation: &str, most: u32, warnings: &mut Vec<String>) -> Option<u32> {
    let text = meta.annotation(annotation)?;
    let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
    if number.is_none() {
        warnings.push(format!("annotation {annotation}: {text:?} is ignored; a number from 1 to {most} is expected"));
    }
    number
}
