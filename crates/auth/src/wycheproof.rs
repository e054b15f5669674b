//! Project Wycheproof's vectors of JSON Web Signatures and Keys. `.ci/run` fetches them; `PAILOU_WYCHEPROOF` names their directory
//! (`testvectors_v1`). Without it the test is left out.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{JwkSet, JwtError, jws::Token};

/// Verifies a token as `jwt` does, but for its payload, which is no JSON in most vectors.
fn verify(token: &str, set: &JwkSet) -> Result<(), JwtError> {
    let token = Token::parse(token.as_bytes())?;
    match token.payload() {
        Ok(_) | Err(JwtError::PayloadJson) => token.verify(set),
        Err(error) => Err(error),
    }
}

/// Vectors that fare otherwise here, by file and number, with the reason.
const EXCEPTIONS: &[(&str, u64, &str)] = &[
    (SIGNATURES, 346, "the key is for PS256 alone (`alg`), and the token PS384"),
    (SIGNATURES, 347, "P-521"),
    (SIGNATURES, 350, "the key is for PS256 alone (`alg`), and the token PS384"),
    (SIGNATURES, 351, "P-521"),
    (SIGNATURES, 367, "it has no padding, and is the valid token that it was made of"),
    (SIGNATURES, 370, "it has no padding, and is the valid token that it was made of"),
    (SIGNATURES, 372, "a letter that base64 does not have is refused, and not skipped"),
    (SIGNATURES, 373, "a letter that base64 does not have is refused, and not skipped"),
    (KEYS, 1, "a set may have symmetric keys and others: no algorithm is for both"),
    (KEYS, 4, "of keys with one id each is tried"),
    (CRYPTO, 47, "a set may have symmetric keys and others: no algorithm is for both"),
];
const SIGNATURES: &str = "json_web_signature_test";
const KEYS: &str = "json_web_key_test";
const CRYPTO: &str = "json_web_crypto_test";

#[test]
fn signatures_and_keys_are_judged_as_wycheproof_says() {
    let Some(directory) = std::env::var_os("PAILOU_WYCHEPROOF").map(PathBuf::from) else { return };
    let mut wrong = Vec::new();
    for (file, least) in [(SIGNATURES, 400), (KEYS, 26), (CRYPTO, 48)] {
        let text = fs::read(directory.join(format!("{file}.json"))).unwrap();
        let vectors: Value = serde_json::from_slice(&text).unwrap();
        let mut count = 0;
        for group in vectors["testGroups"].as_array().unwrap() {
            // A symmetric key is private.
            let key = group.get("public").unwrap_or(&group["private"]);
            let set = if key.get("keys").is_some() { key.clone() } else { json!({"keys": [key]}) };
            let set = JwkSet::parse(set.to_string().as_bytes());
            for test in group["tests"].as_array().unwrap() {
                let Some(token) = test["jws"].as_str() else { continue };
                count += 1;
                let verified =
                    set.as_ref().map_err(ToString::to_string).and_then(|set| verify(token, set).map_err(|error| error.to_string()));
                let id = test["tcId"].as_u64().unwrap();
                let is_valid = test["result"] == "valid";
                let is_exception = EXCEPTIONS.iter().any(|(name, number, _)| *name == file && *number == id);
                if (verified.is_ok() == is_valid) == is_exception {
                    wrong.push(format!("{file} {id} ({} {}): {verified:?}", group["comment"], test["comment"]));
                }
            }
        }
        assert!(count >= least, "{file}: {count} vectors");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
