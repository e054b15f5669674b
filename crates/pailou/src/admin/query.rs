//! Values of a request's query.

/// The longest value that counts, in bytes.
const MAX_TEXT: usize = 512;

/// A parameter's first value, decoded as forms are encoded (`+` is a blank); `None` where it is missing, too long or no UTF-8.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    long_value(query, name).filter(|value| value.len() <= MAX_TEXT)
}

/// The same of any length.
pub(super) fn long_value(query: &str, name: &str) -> Option<String> {
    let query = query.replace('+', "%20");
    let value = pailou_auth::query_values(&query, name).next()?.into_owned();
    String::from_utf8(value).ok()
}

/// At most `most` values of a parameter that may come several times.
pub(super) fn values(query: &str, name: &str, most: usize) -> Vec<String> {
    let query = query.replace('+', "%20");
    let values = pailou_auth::query_values(&query, name).filter_map(|value| String::from_utf8(value.into_owned()).ok());
    values.filter(|value| value.len() <= MAX_TEXT).take(most).collect()
}

/// A parameter that is a number.
pub(super) fn number(query: &str, name: &str) -> Option<usize> {
    value(query, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_browsers_and_tools_write_them() {
        let read = |query: &str| value(query, "search").unwrap();
        assert_eq!((read("search=a+b"), read("x=1&search=a%20b%2Bc")), ("a b".to_owned(), "a b+c".to_owned()));
        assert_eq!(value(&format!("search={}", "x".repeat(MAX_TEXT + 1)), "search"), None);
        assert_eq!((number("limit=7", "limit"), number("limit=-7", "limit")), (Some(7), None));
    }
}
