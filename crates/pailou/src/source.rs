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
    time::Instant,
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
            catalog.update(path.as_path().into(), if is_stdin(path) { read_stdin() } else { files::read(path) }, Instant::now());
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

    /// Reads everything afresh. What came from a file or directory of the command line that is gone stays until it is back; objects of
    /// a directory's file that is gone, or of a file that is empty, stay for two seconds.
    pub(crate) fn load(&mut self, now: Instant) -> Contents {
        let listing = self.roots.read();
        let mut interest = listing.interest;
        let present: BTreeSet<_> = listing.files.iter().map(|found| found.path.clone()).collect();
        let is_stream = |path: &Path| self.streams.contains(path);
        let is_uncertain = |path: &Path| listing.failed.iter().any(|(root, _)| path.starts_with(root));
        self.catalog.retain(|path| present.contains(path) || is_stream(path) || is_uncertain(path), now);
        for found in listing.files {
            self.catalog.update(found.path, found.content, now);
        }
        interest.look_again(self.catalog.deadline(now));
        let problem = |(path, error): &(PathBuf, io::Error)| match self.catalog.is_known(path) {
            true => Problem::kept(path, error),
            false => Problem::unreadable(path, error),
        };
        let mut problems: Vec<_> = listing.failed.iter().map(problem).collect();
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

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use pailou_api::Pod;

    use super::{catalog::GRACE, *};
    use crate::test_dir::TestDir;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nstatus:\n  podIP: 127.0.0.2\n";

    fn source(root: &Path) -> Source {
        let args = ConfigArgs {
            files: vec![root.to_owned()],
            recursive: true,
            namespace: "default".to_owned(),
            secrets: Vec::new(),
            addresses: Vec::new(),
            bind: Ipv4Addr::LOCALHOST.into(),
            classes: Vec::new(),
            controllers: Vec::new(),
        };
        Source::new(&args).unwrap()
    }

    /// Number of Pods, and problems.
    fn load(source: &mut Source, now: Instant) -> (usize, Vec<String>) {
        let contents = source.load(now);
        (contents.objects.all::<Pod>().count(), contents.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_root_that_is_renamed_away_keeps_its_objects_until_it_is_back() {
        let directory = TestDir::new();
        let (root, aside) = (directory.path().join("objects"), directory.path().join("aside"));
        let start = Instant::now();
        for is_directory in [false, true] {
            let file = if is_directory { root.join("sub/a.yaml") } else { root.clone() };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, POD).unwrap();
            let mut source = source(&root);
            assert_eq!(load(&mut source, start), (1, Vec::new()));
            fs::rename(&root, &aside).unwrap();
            let gone = format!("{}: is gone; what came from it before holds until it is back", root.display());
            assert_eq!(load(&mut source, start), (1, vec![gone.clone()]));
            assert_eq!(load(&mut source, start + GRACE * 1_000), (1, vec![gone]));
            fs::rename(&aside, &root).unwrap();
            assert_eq!(load(&mut source, start + GRACE * 1_000), (1, Vec::new()));
            if !is_directory {
                fs::remove_file(&root).unwrap();
            }
        }
    }

    #[test]
    fn a_directorys_file_that_is_renamed_away_and_back_costs_nothing() {
        let directory = TestDir::new();
        let (file, aside) = (directory.path().join("a.yaml"), directory.path().join("a.yaml~"));
        fs::write(&file, POD).unwrap();
        let mut source = source(directory.path());
        let start = Instant::now();
        let before = source.load(start).objects;
        fs::rename(&file, &aside).unwrap();
        assert!(source.load(start).objects.is_same(&before));
        fs::rename(&aside, &file).unwrap();
        assert!(source.load(start + GRACE / 2).objects.is_same(&before));
        fs::rename(&file, &aside).unwrap();
        assert_eq!(load(&mut source, start + GRACE), (1, Vec::new()));
        assert_eq!(load(&mut source, start + GRACE * 2), (0, Vec::new()), "it is deleted");
    }

    #[test]
    fn a_subdirectory_that_is_swapped_costs_nothing() {
        let directory = TestDir::new();
        let (live, next, former) = (directory.path().join("live"), directory.path().join("next"), directory.path().join(".former"));
        fs::create_dir(&live).unwrap();
        fs::write(live.join("a.yaml"), POD).unwrap();
        let mut source = source(directory.path());
        let start = Instant::now();
        assert_eq!(load(&mut source, start), (1, Vec::new()));
        fs::rename(&live, &former).unwrap();
        assert_eq!(load(&mut source, start), (1, Vec::new()));
        fs::create_dir(&next).unwrap();
        fs::write(next.join("a.yaml"), format!("{POD}---\n{}", POD.replace("name: p", "name: q"))).unwrap();
        assert_eq!(load(&mut source, start), (2, Vec::new()));
        fs::rename(&next, &live).unwrap();
        assert_eq!(load(&mut source, start), (2, Vec::new()));
        assert_eq!(load(&mut source, start + GRACE * 2), (2, Vec::new()));
    }
}
