//! A password file, whatever its bytes, lets nobody in but by a hash that stands in it.

#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use pailou_auth::{BasicAuth, PasswordCheck, Users};

fuzz_target!(|input: (&str, &[u8])| {
    let (file, authorization) = input;
    let Ok(users) = Users::parse(file) else { return };
    let settings = BasicAuth { username_header: None, users: Arc::new(users) };
    let url = ["http", "a.test", "/"];
    let Ok(value) = HeaderValue::from_bytes(authorization) else { return };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    // Leave out passwords that bcrypt would take long for.
    if let Ok(PasswordCheck::User(name)) = settings.check(&headers, url) {
        assert!(file.lines().any(|line| line.trim().starts_with(&format!("{name}:{{SHA}}"))), "{name}");
    }
    assert!(settings.check(&HeaderMap::new(), url).is_err());
});
