//! `pailou keys`: makes API keys, and shows who has some. Only a key's hash goes into a Secret, and no key is ever read from one.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{self, BufWriter, Read, Write},
    time::Instant,
};

use jiff::Timestamp;
use pailou_api::{Kind, Object, ObjectKey, refs::SecretObjectReference};
use pailou_auth::{ApiKey, ApiKeys, key_hash, new_key};
use pailou_compile::store::Store;
use serde_json::{Map, Value, json};

use crate::{
    cli::{KeyEntryArgs, KeysAction, KeysArgs, ListFormat, ListKeysArgs},
    exit::{Error, ExitOutcome},
    printable::{self, Printable},
    source::{Level, Source},
    table::Table,
};

/// The longest key that is read, in bytes.
const MAX_KEY: usize = 4096;

/// Makes, hashes or lists keys.
pub(crate) fn run(args: &KeysArgs) -> Result<ExitOutcome, Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match &args.action {
        KeysAction::New(args) => {
            let key = new_key().ok_or_else(|| io::Error::other("the system has no random numbers"))?;
            write_entry(&mut out, args, key.as_bytes())?;
            out.flush()?;
            eprintln!("The key of {}, which is not shown again:\n{key}", args.client);
        }
        KeysAction::Hash(args) => write_entry(&mut out, args, &read_key(io::stdin().lock())?)?,
        KeysAction::List(args) => return list(&mut out, args),
    }
    out.flush()?;
    Ok(ExitOutcome::Done)
}

/// A key, without the line end that tools put behind it.
fn read_key(input: impl Read) -> Result<Vec<u8>, Error> {
    let mut key = Vec::new();
    input.take(MAX_KEY as u64 + 2).read_to_end(&mut key)?;
    let end = key.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    key.truncate(end);
    match key.len() {
        0 => Err(io::Error::other("there is no key on standard input").into()),
        1..=MAX_KEY => Ok(key),
        _ => Err(io::Error::other(format!("a key has at most {MAX_KEY} bytes")).into()),
    }
}

/// The entry of a Secret's `stringData`, or the whole Secret.
fn write_entry(out: &mut impl Write, args: &KeyEntryArgs, key: &[u8]) -> io::Result<()> {
    let mut entry = Map::from_iter([("keyHash".to_owned(), Value::from(key_hash(key)))]);
    if let Some(expires) = args.expires {
        entry.insert("expires".to_owned(), expires.0.to_string().into());
    }
    if !args.metadata.is_empty() {
        let metadata = args.metadata.iter().map(|it| (it.name.clone(), it.value.clone()));
        entry.insert("metadata".to_owned(), Value::Object(metadata.collect()));
    }
    // In single quotes YAML takes everything as it stands, but for these quotes.
    let entry = Value::Object(entry).to_string().replace('\'', "''");
    match &args.secret {
        None => writeln!(out, "{}: '{entry}'", scalar(&args.client)),
        Some(secret) => {
            let namespace =
                args.namespace.as_ref().map(|namespace| format!(", namespace: {}", scalar(namespace))).unwrap_or_default();
            writeln!(out, "apiVersion: v1\nkind: Secret\nmetadata: {{name: {}{namespace}}}\nstringData:", scalar(secret))?;
            writeln!(out, "  {}: '{entry}'", scalar(&args.client))
        }
    }
}

/// A name in YAML, in quotes where a reader could take it for a number, a truth value or nothing. Names have no quotes in them.
fn scalar(name: &str) -> Cow<'_, str> {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_text = name.starts_with(|first: char| first.is_ascii_alphabetic()) && !WORDS.contains(&&*name.to_ascii_lowercase());
    if is_text { name.into() } else { format!("'{name}'").into() }
}

/// A client of a Secret.
struct Client {
    secret: ObjectKey,
    client: String,
    /// Its keys, or what is wrong with the value.
    keys: Result<Vec<ApiKey>, String>,
}

fn list(out: &mut impl Write, args: &ListKeysArgs) -> Result<ExitOutcome, Error> {
    let mut source = Source::new(&args.config)?;
    if let Some(error) = source.missing() {
        return Err(error);
    }
    let contents = source.load(Instant::now());
    let clients = clients(&contents.objects);
    let is_wrong = clients.iter().any(|client| client.keys.is_err());
    match args.output {
        ListFormat::Table => table(&clients).write(out, None)?,
        ListFormat::Json => {
            let list: Vec<Value> = clients.iter().flat_map(as_json).collect();
            let text = serde_json::to_string_pretty(&json!({"keys": list})).map_err(io::Error::from)?;
            writeln!(out, "{}", printable::json(&text))?;
        }
    }
    out.flush()?;
    let rejected = contents.problems.iter().filter(|problem| problem.level == Level::Rejected);
    rejected.for_each(|problem| eprintln!("error: {}", Printable(problem)));
    Ok(if is_wrong { ExitOutcome::NotAccepted } else { ExitOutcome::Done })
}

/// Clients of the Secrets that `apiKeyAuth` of a SecurityPolicy names, and of others whose values are keys in JSON.
fn clients(objects: &Store) -> Vec<Client> {
    let mut named = BTreeSet::new();
    for (_, entry) in objects.iter() {
        let Object::SecurityPolicy(policy) = &entry.object else { continue };
        let references = policy.spec.api_key_auth.iter().flat_map(|it| &it.credential_refs);
        named.extend(references.map(|reference| secret_key(reference, &policy.meta.namespace)));
    }
    let mut clients = Vec::new();
    for (key, entry) in objects.iter() {
        let Object::Secret(secret) = &entry.object else { continue };
        for (client, value) in &secret.spec.data {
            let mut keys = ApiKeys::default();
            let read = keys.add(client, value.expose()).map_err(|error| error.to_string());
            let is_object = value.expose().trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
            if named.contains(key) || is_object && read.is_ok() {
                let mut keys: Vec<ApiKey> = keys.iter().cloned().collect();
                keys.sort_by_key(|key| key.expires);
                clients.push(Client { secret: key.clone(), client: client.clone(), keys: read.map(|()| keys) });
            }
        }
    }
    clients.sort_by(|a, b| (&a.secret, &a.client).cmp(&(&b.secret, &b.client)));
    clients
}

fn secret_key(reference: &SecretObjectReference, namespace: &str) -> ObjectKey {
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    ObjectKey::new("", Kind::Secret.name(), namespace, &*reference.name)
}

fn table(clients: &[Client]) -> Table<4> {
    let mut table = Table::new(["SECRET", "CLIENT", "EXPIRES", "METADATA"]);
    for Client { secret, client, keys } in clients {
        let name = format!("{}/{}", secret.namespace, secret.name);
        match keys {
            Ok(keys) => keys.iter().for_each(|key| {
                let expires = key.expires.map_or_else(|| "never".to_owned(), |expires| format!("{expires}{}", expired(key)));
                let metadata = key.metadata.as_object().filter(|metadata| !metadata.is_empty());
                let metadata = metadata.map(|metadata| Value::Object(metadata.clone()).to_string());
                table.push([name.clone(), client.clone(), expires, metadata.unwrap_or_default()]);
            }),
            Err(error) => table.push([name, client.clone(), "-".to_owned(), format!("not accepted: {error}")]),
        }
    }
    table
}

fn expired(key: &ApiKey) -> &'static str {
    if key.expires.is_some_and(|expires| expires <= Timestamp::now()) { " (expired)" } else { "" }
}

fn as_json(client: &Client) -> Vec<Value> {
    let Client { secret, client, keys } = client;
    let of = |more: Value| {
        let mut object = json!({"namespace": secret.namespace, "secret": secret.name, "client": client});
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    };
    match keys {
        Ok(keys) => keys
            .iter()
            .map(|key| of(json!({"expires": key.expires.map(|expires| expires.to_string()), "expired": !expired(key).is_empty(), "metadata": *key.metadata})))
            .collect(),
        Err(error) => vec![of(json!({"error": error}))],
    }
}
