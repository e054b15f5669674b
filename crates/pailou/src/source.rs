//! Sources of objects without a cluster: files, standard input, values of the command line.

mod catalog;
mod files;
mod foreign;
mod problem;
mod secrets;
mod watch;

use std::{
    collections::BTreeSet,
    io::{self, Read},
    path::{Path, PathBuf},
};

use pailou_api::{NamespaceName, Object};
use pailou_compile::store::{Entry, Store};

use crate::{cli::ConfigArgs, exit::Error};
use catalog::Catalog;
use files::Roots;
use secrets::Secrets;

pub(crate) use problem::{Level, Problem, Strictness};
pub(crate) use watch::{Interest, Stopper, Wake, Watcher};

/// The largest standard input read, in bytes.
const MAX_STDIN: u64 = 64 << 20;

/// All sources of one gateway.
#[derive(Debug)]
pub(crate) struct Source {
    roots: Roots,
    /// Standard input and pipes: they were read once, and are not watched.
    streams: BTreeSet<PathBuf>,
    catalog: Catalog,
    secrets: Secrets,
    /// Objects that do not come from files; they take precedence.
    given: Vec<Object>,
}

/// Content of the sources at one moment.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Every object.
    pub(crate) objects: Store,
    /// Problems of the files.
    pub(crate) problems: Vec<Problem>,
    /// Files and directories whose changes matter.
    pub(crate) interest: Interest,
}

impl Source {
    /// The sources that the command line names. Standard input and pipes are read to their end.
    pub(crate) fn new(args: &ConfigArgs) -> Result<Self, Error> {
        let namespace = NamespaceName::try_from(args.namespace.as_str()).map_err(Error::Namespace)?;
        let mut catalog = Catalog::new(namespace);
        let is_stdin = |path: &Path| path.as_os_str() == "-";
        let (streams, paths): (Vec<_>, Vec<_>) =
            args.files.iter().cloned().partition(|path| is_stdin(path) || files::is_stream(path));
        let streams = BTreeSet::from_iter(streams);
        for path in &streams {
            catalog.update(path.as_path().into(), if is_stdin(path) { read_stdin() } else { files::read(path) });
        }
        let secrets = Secrets::new(&args.secrets, catalog.namespace());
        Ok(Self { roots: Roots { paths, recursive: args.recursive }, streams, catalog, secrets, given: Vec::new() })
    }

    /// No files, only objects that are at hand.
    pub(crate) fn of_objects(namespace: NamespaceName, objects: Vec<Object>) -> Self {
        let catalog = Catalog::new(namespace);
        let secrets = Secrets::new(&[], catalog.namespace());
        let roots = Roots { paths: Vec::new(), recursive: false };
        Self { roots, streams: BTreeSet::new(), catalog, secrets, given: objects }
    }

    /// The files and directories of the command line that are not there.
    pub(crate) fn missing(&self) -> Option<Error> {
        let secrets = self.secrets.paths();
        let missing = |path: &Path| std::fs::metadata(path).err().map(|source| Error::Read { path: path.to_owned(), source });
        self.roots.paths.iter().map(PathBuf::as_path).chain(secrets).find_map(missing)
    }

    /// Reads everything afresh.
    pub(crate) fn load(&mut self) -> Contents {
        let listing = self.roots.read();
        let mut interest = listing.interest;
        let present: BTreeSet<_> = listing.files.iter().map(|found| found.path.clone()).collect();
        let is_stream = |path: &Path| self.streams.contains(path);
        let is_uncertain = |path: &Path| listing.failed.iter().any(|(root, _)| path.starts_with(root));
        self.catalog.retain(|path| present.contains(path) || is_stream(path) || is_uncertain(path));
        for found in listing.files {
            self.catalog.update(found.path, found.content);
        }
        let mut problems: Vec<_> = listing.failed.iter().map(|(path, error)| Problem::unreadable(path, error)).collect();
        let (secrets, failed) = self.secrets.load();
        problems.extend(failed);
        self.secrets.paths().for_each(|path| interest.add(path));
        let mut objects = Store::new();
        for object in secrets.into_iter().chain(self.given.iter().cloned()) {
            let entry = Entry { object, ignored: Vec::new(), origin: "the command line".into(), line: 0 };
            objects.upsert(entry).expect("a command line has fewer objects than a store's limit");
        }
        problems.extend(self.catalog.contents(&mut objects));
        Contents { objects, problems, interest }
    }
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::stdin().take(MAX_STDIN + 1).read_to_end(&mut content)?;
    Ok(content)
}
