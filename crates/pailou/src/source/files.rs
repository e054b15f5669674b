//! The files of a configuration.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::watch::Interest;

/// Largest file read, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Most files read from directories.
const MAX_FILES: usize = 10_000;
/// How deep directories are followed.
const MAX_DEPTH: usize = 16;

/// Files and directories to read.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// Files and directories.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether directories are read with their subdirectories.
    pub(crate) recursive: bool,
}

/// Files at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every file, by root, then by name.
    pub(crate) files: Vec<SourceFile>,
    /// Paths whose changes may make another listing.
    pub(crate) interest: Interest,
    /// Roots and directories that could not be listed: whatever came from them before is still to be believed.
    pub(crate) failed: Vec<(PathBuf, io::Error)>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Its path, as the user would write it.
    pub(crate) path: Arc<Path>,
    /// Its content.
    pub(crate) content: io::Result<Vec<u8>>,
}

impl Roots {
    /// Reads everything there is.
    pub(crate) fn read(&self) -> Listing {
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        for root in &self.paths {
            listing.interest.add(root);
            match fs::metadata(root) {
                Ok(metadata) if metadata.is_dir() => self.list(root, 0, &mut seen, &mut listing),
                Ok(_) if seen.insert(root.clone()) => listing.add(root),
                Ok(_) => {}
                Err(error) => listing.failed.push((root.clone(), error)),
            }
        }
        listing
    }

    fn list(&self, directory: &Path, depth: usize, seen: &mut BTreeSet<PathBuf>, listing: &mut Listing) {
        // A link may lead back to where it came from, and a root may be within another.
        match directory.canonicalize() {
            Ok(real) if seen.insert(real.clone()) => listing.interest.add_listed(real),
            Ok(_) => return,
            Err(error) => return listing.failed.push((directory.to_owned(), error)),
        }
        let entries = fs::read_dir(directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut paths: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect(),
            Err(error) => return listing.failed.push((directory.to_owned(), error)),
        };
        paths.sort();
        for path in paths {
            if path.is_dir() {
                if self.recursive && depth < MAX_DEPTH {
                    self.list(&path, depth + 1, seen, listing);
                }
            } else if is_object_file(&path) && !is_stream(&path) {
                if listing.files.len() == MAX_FILES {
                    let error = io::Error::other(format!("there are more than {MAX_FILES} files"));
                    return listing.failed.push((directory.to_owned(), error));
                }
                if seen.insert(path.clone()) {
                    listing.add(&path);
                }
            }
        }
    }
}

impl Listing {
    fn add(&mut self, path: &Path) {
        self.interest.add(path);
        self.files.push(SourceFile { path: path.into(), content: read(path) });
    }
}

/// A file's content.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(content)
}

/// Whether this can be read only once: a pipe, such as `<(command)` gives.
pub(super) fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Kubernetes' volumes keep their versions under names with a dot, and so do editors their copies.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a directory's file is one to read.
pub(super) fn is_object_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    fn names(root: &Path, recursive: bool) -> Vec<String> {
        let listing = Roots { paths: vec![root.to_owned()], recursive }.read();
        let name = |found: &SourceFile| found.path.strip_prefix(root).unwrap().display().to_string();
        listing.files.iter().map(name).collect()
    }

    #[test]
    fn a_directory_gives_its_object_files_in_order() {
        let directory = TestDir::new();
        for name in ["b.yml", "a.yaml", "c.json", "d.txt", ".hidden.yaml", "e.yaml~"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("sub")).unwrap();
        fs::write(directory.path().join("sub/f.yaml"), "").unwrap();
        assert_eq!(names(directory.path(), false), ["a.yaml", "b.yml", "c.json"]);
        assert_eq!(names(directory.path(), true), ["a.yaml", "b.yml", "c.json", "sub/f.yaml"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let directory = TestDir::new();
        fs::write(directory.path().join("a.yaml"), "").unwrap();
        std::os::unix::fs::symlink(directory.path(), directory.path().join("again")).unwrap();
        assert_eq!(names(directory.path(), true), ["a.yaml"]);
    }

    #[test]
    fn a_root_that_is_missing_is_a_failure_and_not_an_empty_one() {
        let directory = TestDir::new();
        let listing = Roots { paths: vec![directory.path().join("none.yaml")], recursive: false }.read();
        assert_eq!((listing.files.len(), listing.failed.len()), (0, 1));
    }
}
