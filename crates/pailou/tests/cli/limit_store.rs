//! The flags of the store of limits, before anything is served.

use std::fs;

use crate::{dir::TestDir, run};

#[test]
fn a_flag_of_the_store_of_limits_without_its_url_is_an_error_that_names_the_flag() {
    let dir = TestDir::new();
    fs::write(dir.path().join("objects.yaml"), "").unwrap();
    for flags in [
        &["--rate-limit-redis-prefix", "pailou:east:"][..],
        &["--rate-limit-redis-password-file", "password"],
        &["--rate-limit-redis-ca", "ca.crt"],
        &["--rate-limit-redis-cert", "tls.crt", "--rate-limit-redis-key", "tls.key"],
        &["--rate-limit-timeout", "50"],
        &["--rate-limit-fail-closed"],
    ] {
        let ended = run(dir.path(), &[&["serve", "-f", "objects.yaml"], flags].concat(), "");
        let error = format!("{} has no effect without a store: add --rate-limit-redis-url", flags[0]);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(&error), "{ended:?}");
    }
}

#[test]
fn a_flag_of_a_rate_limit_service_that_has_no_use_is_an_error_that_says_why() {
    let dir = TestDir::new();
    fs::write(dir.path().join("objects.yaml"), "").unwrap();
    fs::write(dir.path().join("ca.crt"), "no PEM").unwrap();
    for (flags, error) in [
        (&["--rate-limit-service", "http://limits:8081"][..], "--rate-limit-service: scheme \"http\": use grpcs"),
        (&["--rate-limit-service", "limits:no"], "--rate-limit-service: expected host:port"),
        (&["--rate-limit-service-ca", "ca.crt"], "--rate-limit-service-ca has no effect without a rate limit service"),
        (&["--rate-limit-service", "limits", "--rate-limit-service-ca", "ca.crt"], "ca.crt holds no PEM certificate"),
        (&["--rate-limit-service", "grpc://limits", "--rate-limit-service-ca", "ca.crt"], "clear text"),
        (&["--rate-limit-service", "limits", "--rate-limit-redis-url", "redis:6379"], "cannot be used with"),
    ] {
        let ended = run(dir.path(), &[&["serve", "-f", "objects.yaml"], flags].concat(), "");
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(error), "{ended:?}");
    }
}
