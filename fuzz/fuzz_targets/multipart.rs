//! A content type and a body: no panic; a form that is read can be spliced and read again; and a form written plainly from
//! the input gives back its model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_ai::{multipart, splice_model};

fuzz_target!(|input: (String, Vec<u8>, String)| {
    let (content_type, body, model) = input;
    if let Ok(scan) = multipart::scan(&content_type, &body) {
        check_splice(&content_type, body.clone(), &scan);
    }
    let content_type = "multipart/form-data; boundary=b0";
    if let Ok(scan) = multipart::scan(content_type, &body) {
        check_splice(content_type, body.clone(), &scan);
    }
    let delimited = |bytes: &[u8]| [b"\r\n", bytes, b"\r\n--b"].concat().windows(6).filter(|w| *w == b"\r\n--b0").count() > 0;
    if delimited(&body) || delimited(model.as_bytes()) {
        return;
    }
    let form = [
        b"--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n",
        &body[..],
        b"\r\n--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n",
        model.as_bytes(),
        b"\r\n--b0--\r\n",
    ]
    .concat();
    let scan = multipart::scan(content_type, &form).expect("a form");
    assert_eq!(scan.model, Some(model));
    check_splice(content_type, form, &scan);
});

fn check_splice(content_type: &str, body: Vec<u8>, scan: &pailou_ai::Scan) {
    // No boundary has a control character, so no new delimiter can come about.
    let spliced = splice_model(&body.into(), scan, "\u{1}").to_bytes();
    let again = multipart::scan(content_type, &spliced).expect("a spliced form is a form");
    assert!(again.model.is_none_or(|model| model == "\u{1}"));
    assert_eq!(again.stream, scan.stream);
}
