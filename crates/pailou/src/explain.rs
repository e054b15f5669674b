//! `pailou explain`: why a request went where it went, or where it would go.

mod picture;
mod request;

use std::io::{self, BufWriter, Write};

use pailou_proxy::explanation::{self, ExplainRequest, Sources};
use serde_json::Value;

use crate::{
    admin::client,
    cli::{ExplainArgs, ExplainFormat},
    configuration::Configuration,
    exit::{Error, ExitOutcome},
    printable,
};

/// Prints a receipt, or an explanation.
pub(crate) fn run(args: &ExplainArgs) -> Result<ExitOutcome, Error> {
    let document = match request::of(args)? {
        request::Subject::Receipt(id) => return receipt(args, &format!("/receipts/{}", escaped(&id))),
        request::Subject::Next(expression) => {
            return receipt(args, &format!("/receipts/next?expression={}", escaped(&expression)));
        }
        request::Subject::Request(request) if args.files.is_empty() => live(args, &request)?,
        request::Subject::Request(request) => by_files(args, &request)?,
    };
    print(args, &document, picture::explanation)?;
    let is_served = document.get("problem").is_none();
    Ok(if is_served { ExitOutcome::Done } else { ExitOutcome::NotAccepted })
}

/// A receipt as lines of text.
pub(crate) fn receipt_lines(document: &Value) -> Vec<String> {
    picture::receipt(document)
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn receipt(args: &ExplainArgs, target: &str) -> Result<ExitOutcome, Error> {
    let answer = client::get(args.admin, target, client::read_token(args.admin_token_file.as_deref())?.as_deref());
    let answer = answer.map_err(|source| unread(args, source))?;
    match answer.status {
        200 => {
            let document = parse(args, &answer.body)?;
            print(args, &document, picture::receipt)?;
            Ok(ExitOutcome::Done)
        }
        404 | 504 => {
            eprintln!("{}", printable::Printable(String::from_utf8_lossy(&answer.body).trim()));
            Ok(ExitOutcome::NotAccepted)
        }
        _ => Err(unread(args, answer.refusal())),
    }
}

fn live(args: &ExplainArgs, request: &ExplainRequest) -> Result<Value, Error> {
    let document = serde_json::to_string(request).map_err(io::Error::from)?;
    let answer = client::post(args.admin, "/explain", client::read_token(args.admin_token_file.as_deref())?.as_deref(), &document);
    let answer = answer.map_err(|source| unread(args, source))?;
    if answer.status == 200 { parse(args, &answer.body) } else { Err(unread(args, answer.refusal())) }
}

fn by_files(args: &ExplainArgs, request: &ExplainRequest) -> Result<Value, Error> {
    let mut configuration = Configuration::new(&args.config())?;
    if let Some(error) = configuration.missing() {
        return Err(error);
    }
    let loaded = configuration.load(None);
    for problem in loaded.problems.iter() {
        eprintln!("{}", printable::Printable(format!("{}: {}", problem.place(), problem.message)));
    }
    explanation::explain(&Sources::of_files(&loaded.snapshot, &loaded.endpoints), request).map_err(Error::Explain)
}

fn unread(args: &ExplainArgs, source: io::Error) -> Error {
    Error::Admin { address: args.admin, source }
}

fn parse(args: &ExplainArgs, body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|error| unread(args, error.into()))
}

fn print(args: &ExplainArgs, document: &Value, picture: fn(&Value) -> Vec<String>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        ExplainFormat::Json => {
            let text = serde_json::to_string_pretty(document).map_err(io::Error::from)?;
            writeln!(out, "{}", printable::json(&text))?;
        }
        ExplainFormat::Text => {
            for line in picture(document) {
                writeln!(out, "{}", printable::Printable(line.trim_end()))?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
