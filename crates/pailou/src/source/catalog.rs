//! The objects that files hold, with what stood in them before where they are broken now.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_api::{
    NamespaceName, Object, ObjectKey,
    parse::{Decoded, ForeignObject, ParseError, Parsed, UnknownField, parse},
    undecodable::Undecodable,
};
use pailou_compile::store::{Entry, Store};

use super::{
    foreign,
    problem::{Level, Problem},
};

/// How long a directory's file may be gone, or any file empty, before its objects count as deleted. Whoever replaces a file in several
/// steps has taken the next one by then.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Outcome of every document, file by file.
#[derive(Debug)]
pub(crate) struct Catalog {
    namespace: NamespaceName,
    /// By name; what comes first wins where two hold the same object.
    files: BTreeMap<Arc<Path>, FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    content: Vec<u8>,
    objects: Vec<Decoded>,
    errors: Vec<ParseError>,
    undecodable: Vec<Undecodable>,
    foreign: Vec<ForeignObject>,
    unreadable: Option<Problem>,
    /// Time since when the file has been gone or empty, if its objects are kept all the same.
    gone: Option<Instant>,
}

impl Catalog {
    /// An empty one, whose objects are in this namespace unless they say otherwise.
    pub(crate) fn new(namespace: NamespaceName) -> Self {
        Self { namespace, files: BTreeMap::new() }
    }

    /// The namespace of objects that name none.
    pub(crate) fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    /// Stores a file's content, or the error of reading it. Broken documents keep their last good form; so do, for [`GRACE`], all of a
    /// file that is empty.
    pub(crate) fn update(&mut self, path: Arc<Path>, content: io::Result<Vec<u8>>, now: Instant) {
        let before = self.files.entry(path.clone()).or_default();
        match content {
            Ok(content) if content.trim_ascii().is_empty() && !before.objects.is_empty() && before.is_spared(now) => {}
            Ok(content) if before.unreadable.is_none() && content == before.content => before.gone = None,
            Ok(content) => {
                let parsed = parse(&content, &path.to_string_lossy(), &self.namespace);
                let Parsed { mut objects, errors, mut undecodable, foreign } = parsed;
                undecodable.retain(|undecodable| objects.iter().all(|decoded| decoded.object.key() != undecodable.key));
                objects.extend(kept(&before.objects, &objects, &errors, &self.namespace));
                *before = FileState { content, objects, errors, undecodable, foreign, unreadable: None, gone: None };
            }
            Err(error) if before.is_known() => before.unreadable = Some(Problem::kept(&path, &error)),
            Err(error) => before.unreadable = Some(Problem::unreadable(&path, &error)),
        }
    }

    /// Forgets files that have not been among these for [`GRACE`].
    pub(crate) fn retain(&mut self, is_there: impl Fn(&Path) -> bool, now: Instant) {
        self.files.retain(|path, file| is_there(path) || file.is_spared(now));
    }

    /// Time after `now` at which the objects of a file that is gone or empty count as deleted, unless it is back.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.files.values().filter_map(|file| Some(file.gone? + GRACE)).filter(|deadline| *deadline > now).min()
    }

    /// Whether this file, or one in this directory, has been read and held something.
    pub(crate) fn is_known(&self, root: &Path) -> bool {
        self.files.iter().any(|(path, file)| path.starts_with(root) && file.is_known())
    }

    /// Every object once, and all problems. Objects already in `store` silently take precedence: the user gave them explicitly.
    pub(crate) fn contents(&self, store: &mut Store) -> Vec<Problem> {
        let given: BTreeSet<ObjectKey> = store.iter().map(|(key, _)| key.clone()).collect();
        let mut problems = Vec::new();
        let (there, gone): (Vec<_>, Vec<_>) = self.files.iter().partition(|(_, file)| file.gone.is_none());
        for (path, file) in there.into_iter().chain(gone) {
            let origin: Arc<str> = path.to_string_lossy().into();
            for decoded in &file.objects {
                let key = decoded.object.key();
                // An object may have moved from a file that is gone to another one.
                if given.contains(&key) || file.gone.is_some() && store.entry(&key).is_some() {
                    continue;
                }
                match store.insert(Entry::new(decoded.clone(), origin.clone())) {
                    Ok(()) => problems.extend(decoded.ignored.iter().map(|field| unknown_field(&origin, &key, field))),
                    Err(error) => problems.push(Problem {
                        origin: origin.to_string(),
                        line: Some(decoded.line),
                        message: error.to_string(),
                        level: Level::Rejected,
                    }),
                }
            }
            problems.extend(foreign::problems(&origin, &file.foreign));
            problems.extend(file.errors.iter().map(rejected));
            problems.extend(file.unreadable.clone());
        }
        for (path, file) in &self.files {
            let origin = path.to_string_lossy();
            // A good object of another file counts instead.
            let counts = |undecodable: &&Undecodable| store.entry(&undecodable.key).is_none_or(|entry| *entry.origin == *origin);
            let undecodable: Vec<Undecodable> = file.undecodable.iter().filter(counts).cloned().collect();
            for undecodable in undecodable {
                // Before the note: an object that comes takes the note away.
                if store.entry(&undecodable.key).is_none()
                    && let Some(closing) = Entry::closing_policy(&undecodable, origin.as_ref().into())
                {
                    // A store that is full has said so.
                    let _ = store.insert(closing);
                }
                store.set_undecodable(undecodable);
            }
        }
        problems
    }
}

impl FileState {
    /// Whether the file, which is gone or empty, has been so for less than [`GRACE`].
    fn is_spared(&mut self, now: Instant) -> bool {
        now < *self.gone.get_or_insert(now) + GRACE
    }

    /// Whether the file has been read, and held something.
    fn is_known(&self) -> bool {
        !self.content.is_empty()
    }
}

fn unknown_field(origin: &str, key: &ObjectKey, field: &UnknownField) -> Problem {
    let advice = if field.meant.is_some() { "" } else { "; it has no effect" };
    let message = format!("{key}: {field}{advice}");
    Problem { origin: origin.to_owned(), line: Some(field.line), message, level: Level::UnknownField }
}

fn rejected(error: &ParseError) -> Problem {
    let problem = |message| Problem { origin: error.origin.clone(), line: error.line, message, level: Level::Rejected };
    let text = error.to_string();
    let place = problem(String::new()).place();
    problem(text.strip_prefix(&place).map_or(text.as_str(), |rest| rest.trim_start_matches(": ")).to_owned())
}

/// The objects that the file held before and that stand in for broken documents: those that the errors name, or all of them where an
/// error does not say which object it is about.
fn kept(before: &[Decoded], now: &[Decoded], errors: &[ParseError], namespace: &NamespaceName) -> Vec<Decoded> {
    if errors.is_empty() {
        return Vec::new();
    }
    let present: BTreeSet<ObjectKey> = now.iter().map(|decoded| decoded.object.key()).collect();
    let is_meant = |object: &Object, error: &ParseError| {
        let (Some(kind), Some(name)) = (&error.kind, &error.name) else { return true };
        let meta = object.meta();
        let namespace = error.namespace.as_deref().unwrap_or(namespace.as_str());
        object.kind().name() == kind && meta.name == *name && (!object.kind().is_namespaced() || meta.namespace == namespace)
    };
    let is_kept = |decoded: &&Decoded| {
        !present.contains(&decoded.object.key()) && errors.iter().any(|error| is_meant(&decoded.object, error))
    };
    before.iter().filter(is_kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: a\nspec:\n  controllerName: x.y/z\n";
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nstatus:\n  podIP: 127.0.0.2\n";

    fn catalog() -> Catalog {
        Catalog::new(NamespaceName::try_from("default").unwrap())
    }

    fn contents(catalog: &Catalog) -> (Store, Vec<Problem>) {
        let mut store = Store::new();
        let problems = catalog.contents(&mut store);
        (store, problems)
    }

    fn names(catalog: &Catalog) -> Vec<String> {
        contents(catalog).0.iter().map(|(key, _)| key.to_string()).collect()
    }

    fn update(catalog: &mut Catalog, path: &str, text: &str) {
        update_at(catalog, path, text, Instant::now());
    }

    fn update_at(catalog: &mut Catalog, path: &str, text: &str, now: Instant) {
        catalog.update(Path::new(path).into(), Ok(text.as_bytes().to_vec()), now);
    }

    #[test]
    fn a_security_policy_that_never_decoded_closes_its_targets() {
        let policy = |allow: &str| {
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
                 gateway.networking.k8s.io, kind: HTTPRoute, name: r}}]\n  authorization: {{defaultAction: {allow}}}\n"
            )
        };
        let spec = |catalog: &Catalog| {
            let (store, _) = contents(catalog);
            let (_, entry) = store.iter().next().unwrap();
            let pailou_api::Object::SecurityPolicy(policy) = &entry.object else { panic!("no policy") };
            policy.spec.clone()
        };
        let mut catalog = catalog();
        update(&mut catalog, "a", &policy("allow"));
        let closing = spec(&catalog);
        assert!(closing.undecodable.is_some_and(|errors| errors.contains("defaultAction")));
        assert_eq!(closing.target_refs.len(), 1);
        update(&mut catalog, "a", &policy("Allow"));
        assert_eq!(spec(&catalog).undecodable, None);
        update(&mut catalog, "a", &policy("allow"));
        assert_eq!(spec(&catalog).undecodable, None, "the last good version stays");
    }

    #[test]
    fn a_policy_that_guards_is_understood_whole_or_closes_its_targets() {
        let policy = |kind: &str, more: &str| {
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
                 gateway.networking.k8s.io, kind: HTTPRoute, name: r}}]\n  {more}\n"
            )
        };
        let limits = |rule: &str| format!("rateLimit: {{global: {{rules: [{{{rule}}}]}}}}");
        for (kind, more, expected) in [
            (
                "SecurityPolicy",
                "authorisation: {}".to_owned(),
                Some("spec.authorisation: there is no such field: did you mean authorization?"),
            ),
            (
                "SecurityPolicy",
                "authorization: {rules: [{action: Allow, principals: {}}]}".to_owned(),
                Some("spec.authorization.rules[0].principals"),
            ),
            ("BackendTrafficPolicy", limits("limits: {requests: 1, unit: Hour}"), Some("spec.rateLimit")),
            (
                "BackendTrafficPolicy",
                limits("limit: {requests: 1, unit: Hour}, shadow: true"),
                Some("spec.rateLimit.global.rules[0].shadow"),
            ),
            ("BackendTrafficPolicy", limits("limit: {requests: 1, unit: Fortnight}"), Some("spec.rateLimit")),
            ("BackendTrafficPolicy", "timeouts: {}".to_owned(), None),
        ] {
            let mut catalog = catalog();
            update(&mut catalog, "a", &policy(kind, &more));
            let (store, problems) = contents(&catalog);
            let (_, entry) = store.iter().next().unwrap();
            let undecodable = match &entry.object {
                pailou_api::Object::SecurityPolicy(policy) => policy.spec.undecodable.clone(),
                pailou_api::Object::BackendTrafficPolicy(policy) => policy.spec.undecodable.clone(),
                _ => panic!("no policy"),
            };
            match expected {
                Some(expected) => {
                    assert!(undecodable.as_ref().is_some_and(|errors| errors.contains(expected)), "{more}: {undecodable:?}")
                }
                None => assert_eq!((undecodable, problems[0].level), (None, Level::UnknownField)),
            }
        }
    }

    #[test]
    fn a_broken_document_keeps_its_last_good_form_and_the_rest_applies() {
        let mut catalog = catalog();
        update(&mut catalog, "a.yaml", &format!("{CLASS}---\n{POD}"));
        let before = contents(&catalog).0;
        update(&mut catalog, "a.yaml", &format!("{}---\n{}", CLASS.replace("x.y/z", "[]"), POD.replace("127.0.0.2", "127.0.0.9")));
        let (after, problems) = contents(&catalog);
        let class = ObjectKey::new("gateway.networking.k8s.io", "GatewayClass", "", "a");
        let pod = ObjectKey::new("", "Pod", "default", "p");
        assert_eq!(after.entry(&class), before.entry(&class));
        assert_ne!(after.entry(&pod).unwrap().object, before.entry(&pod).unwrap().object);
        assert_eq!((problems.len(), problems[0].level), (1, Level::Rejected));
        assert!(problems[0].to_string().starts_with("a.yaml:6: GatewayClass a: spec.controllerName: "), "{}", problems[0]);
    }

    #[test]
    fn a_document_that_cannot_be_told_keeps_all_that_the_file_held() {
        let mut catalog = catalog();
        update(&mut catalog, "a.yaml", &format!("{CLASS}---\n{POD}"));
        update(&mut catalog, "a.yaml", "kind: [");
        assert_eq!(names(&catalog), ["Pod default/p", "GatewayClass a"]);
        update(&mut catalog, "a.yaml", POD);
        assert_eq!(names(&catalog), ["Pod default/p"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_what_it_held() {
        let mut catalog = catalog();
        update(&mut catalog, "a.yaml", POD);
        catalog.update(Path::new("a.yaml").into(), Err(io::Error::other("no")), Instant::now());
        assert_eq!(names(&catalog), ["Pod default/p"]);
        assert_eq!(contents(&catalog).1[0].level, Level::Unreadable);
        update(&mut catalog, "a.yaml", POD);
        assert_eq!(contents(&catalog).1, []);
    }

    #[test]
    fn a_file_that_is_gone_keeps_its_objects_for_a_while() {
        let mut catalog = catalog();
        let start = Instant::now();
        update_at(&mut catalog, "a.yaml", POD, start);
        assert_eq!(catalog.deadline(start), None);
        catalog.retain(|_| false, start);
        catalog.retain(|_| false, start + GRACE / 2);
        assert_eq!((names(&catalog), catalog.deadline(start)), (vec!["Pod default/p".to_owned()], Some(start + GRACE)));
        update_at(&mut catalog, "a.yaml", POD, start + GRACE / 2);
        assert_eq!(catalog.deadline(start), None, "it is back");
        catalog.retain(|_| false, start + GRACE);
        catalog.retain(|_| false, start + GRACE * 2);
        assert_eq!((names(&catalog).len(), catalog.deadline(start)), (0, None));
    }

    #[test]
    fn a_file_that_is_emptied_keeps_its_objects_for_a_while() {
        let mut catalog = catalog();
        let start = Instant::now();
        update_at(&mut catalog, "a.yaml", POD, start);
        update_at(&mut catalog, "a.yaml", "\n", start);
        assert_eq!((names(&catalog).len(), catalog.deadline(start)), (1, Some(start + GRACE)));
        update_at(&mut catalog, "a.yaml", "", start + GRACE);
        assert_eq!((names(&catalog).len(), catalog.deadline(start)), (0, None));
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_not_there_twice() {
        let mut catalog = catalog();
        update(&mut catalog, "a.yaml", POD);
        catalog.retain(|_| false, Instant::now());
        update(&mut catalog, "b.yaml", &POD.replace("127.0.0.2", "127.0.0.9"));
        let (store, problems) = contents(&catalog);
        let pod = store.entry(&ObjectKey::new("", "Pod", "default", "p")).unwrap();
        assert_eq!((&*pod.origin, problems.len()), ("b.yaml", 0));
    }

    #[test]
    fn of_two_objects_with_one_name_the_first_counts() {
        let mut catalog = catalog();
        update(&mut catalog, "b.yaml", &POD.replace("127.0.0.2", "127.0.0.9"));
        update(&mut catalog, "a.yaml", POD);
        let problems = contents(&catalog).1;
        assert_eq!(problems.len(), 1);
        let place = "b.yaml:1: Pod default/p is defined twice, at a.yaml:1 and at b.yaml:1: ";
        assert!(problems[0].to_string().starts_with(place), "{}", problems[0]);
    }

    #[test]
    fn fields_that_do_not_exist_are_told() {
        let mut catalog = catalog();
        update(&mut catalog, "a.yaml", &CLASS.replace("spec:", "spec:\n  colour: red"));
        assert_eq!(
            contents(&catalog).1[0].to_string(),
            "a.yaml:6: GatewayClass a: spec.colour: there is no such field; it has no effect"
        );
    }
}
