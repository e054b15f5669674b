//! Secrets whose values are in files of their own (`--secret`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use pailou_api::{Meta, NamespaceName, Object, Secret, SecretValue, core_v1::secret::SecretData};

use super::{files, problem::Problem};
use crate::cli::SecretFile;

/// The Secrets of the command line, with the last value that could be read of each key.
#[derive(Debug)]
pub(crate) struct Secrets(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    namespace: String,
    name: String,
    key: String,
    path: PathBuf,
    value: Option<SecretValue>,
}

impl Secrets {
    /// Nothing is read yet.
    pub(super) fn new(flags: &[SecretFile], namespace: &NamespaceName) -> Self {
        let entry = |flag: &SecretFile| Entry {
            namespace: flag.namespace.clone().unwrap_or_else(|| namespace.to_string()),
            name: flag.name.clone(),
            key: flag.key.clone(),
            path: flag.path.clone(),
            value: None,
        };
        Self(flags.iter().map(entry).collect())
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|entry| entry.path.as_path())
    }

    /// Reads the files. One that cannot be read, or is empty as a file is that somebody is about to write, keeps its last value.
    pub(super) fn load(&mut self) -> (Vec<Object>, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut secrets: BTreeMap<(String, String), SecretData> = BTreeMap::new();
        for entry in &mut self.0 {
            if entry.value.is_none() || !files::is_stream(&entry.path) {
                match files::read(&entry.path).map(without_newline) {
                    Ok(content) if content.is_empty() && entry.value.is_some() => problems.push(Problem::emptied(&entry.path)),
                    Ok(content) => entry.value = Some(SecretValue::new(content)),
                    Err(error) if entry.value.is_some() => problems.push(Problem::kept(&entry.path, &error)),
                    Err(error) => problems.push(Problem::unreadable(&entry.path, &error)),
                }
            }
            if let Some(value) = &entry.value {
                let secret = secrets.entry((entry.namespace.clone(), entry.name.clone())).or_default();
                secret.kind = "Opaque".to_owned();
                secret.data.insert(entry.key.clone(), value.clone());
            }
        }
        let object = |((namespace, name), spec)| {
            Object::Secret(Arc::new(Secret { meta: Meta { name, namespace, ..Meta::default() }, spec }))
        };
        (secrets.into_iter().map(object).collect(), problems)
    }
}

/// Editors and `echo` end a file with a newline that is no part of the value.
fn without_newline(mut content: Vec<u8>) -> Vec<u8> {
    if content.last() == Some(&b'\n') {
        content.pop();
        if content.last() == Some(&b'\r') {
            content.pop();
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{source::Level, test_dir::TestDir};

    #[test]
    fn keys_of_one_name_make_one_secret_and_a_lost_file_keeps_its_value() {
        let directory = TestDir::new();
        let (key, other) = (directory.path().join("key"), directory.path().join("other"));
        fs::write(&key, "Bearer sk-1\n").unwrap();
        fs::write(&other, "two\r\n").unwrap();
        let flag = |text: &str, path: &Path| format!("{text}={}", path.display()).parse().unwrap();
        let mut secrets = Secrets::new(&[flag("a", &key), flag("a:b", &other)], &"default".try_into().unwrap());
        let (objects, problems) = secrets.load();
        assert_eq!((objects.len(), problems.len()), (1, 0));
        let Object::Secret(secret) = &objects[0] else { panic!("no Secret") };
        assert_eq!(secret.spec.data["credential"].expose(), b"Bearer sk-1");
        assert_eq!(secret.spec.data["b"].expose(), b"two");
        assert!(!format!("{secrets:?}").contains("sk-1"));
        fs::remove_file(&key).unwrap();
        let (kept, problems) = secrets.load();
        assert_eq!((kept == objects, problems.len()), (true, 1));
        assert_eq!(problems[0].level, Level::Gone);
        assert!(!problems[0].to_string().contains("sk-1"));
        fs::write(&key, "\n").unwrap();
        let (kept, problems) = secrets.load();
        assert_eq!((kept == objects, problems.len()), (true, 1), "an empty file is one that is being written");
        fs::write(&key, "Bearer sk-2").unwrap();
        let (objects, problems) = secrets.load();
        let Object::Secret(secret) = &objects[0] else { panic!("no Secret") };
        assert_eq!((secret.spec.data["credential"].expose(), problems.len()), (&b"Bearer sk-2"[..], 0));
    }
}
