//! Values of annotations.

use std::{fmt::Display, str::FromStr, time::Duration};

use pailou_api::{Duration as SpecDuration, Meta};

/// A number from 1 to this one. A value that is none is ignored, with a warning.
pub(crate) fn number(meta: &Meta, annotation: &str, most: u32, warnings: &mut Vec<String>) -> Option<u32> {
    let text = meta.annotation(annotation)?;
    let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
    if number.is_none() {
        warnings.push(format!("annotation {annotation}: {text:?} is ignored; a number from 1 to {most} is expected"));
    }
    number
}

/// A time of more than 0s, up to this one.
pub(crate) fn time(meta: &Meta, annotation: &str, most: Duration, warnings: &mut Vec<String>) -> Option<Duration> {
    let time = parsed::<SpecDuration>(meta, annotation, warnings)?.as_std();
    let is_good = !time.is_zero() && time <= most;
    if !is_good {
        let hours = most.as_secs() / 3600;
        warnings.push(format!("annotation {annotation}: {time:?} is ignored; more than 0s and at most {hours}h is expected"));
    }
    is_good.then_some(time)
}

/// A value of this type.
pub(crate) fn parsed<T: FromStr<Err: Display>>(meta: &Meta, annotation: &str, warnings: &mut Vec<String>) -> Option<T> {
    match meta.annotation(annotation)?.trim().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            warnings.push(format!("annotation {annotation} is ignored: {error}"));
            None
        }
    }
}
