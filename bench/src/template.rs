//! Configuration files for a setup, made of the texts in `peers/`.
//!
//! A line that begins with `@` and names of setups (`@tls,h2 …`) is only for those; the text between `@for host` and `@end host`, and
//! within it between `@for route` and `@end route`, is there for each; `@NAME@` is replaced by what a [`Site`] says.

use std::{net::SocketAddr, path::Path};

use crate::{request::API_KEY, workload::Setup};

/// The host name of all requests that are not by many routes; certificates are for it.
pub(crate) const HOST: &str = "bench.example.com";
/// Files that a gateway has open beside both ends of its connections.
const OTHER_FILES: u32 = 64;
/// Routes on each of many host names.
pub(crate) const ROUTES_PER_HOST: u32 = 5;

/// Address and task of a gateway.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) engine_port: u16,
    /// Directory of its files; certificates are there already.
    pub(crate) directory: &'a Path,
    pub(crate) setup: Setup,
    pub(crate) threads: u8,
    /// Connections it must take from clients, and as many to backends.
    pub(crate) connections: u32,
    /// The authority's certificate, the gateway's and its key, in PEM.
    pub(crate) certificates: &'a Certificates,
    /// The set of keys that verifies JSON Web Tokens; empty where there are none.
    pub(crate) key_set: String,
}

/// Certificates and keys of TLS, in PEM.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority's.
    pub(crate) ca: String,
    /// One for [`HOST`], shown by gateways and engine alike.
    pub(crate) certificate: String,
    /// Its key.
    pub(crate) key: String,
}

impl Site<'_> {
    /// A text with everything filled in.
    pub(crate) fn fill(&self, text: &str) -> String {
        let kept: Vec<&str> = text.lines().filter_map(|line| self.kept(line)).collect();
        let mut filled = repeated(&(kept.join("\n") + "\n"), "host", self.setup.hosts(), &|block| {
            repeated(block, "route", ROUTES_PER_HOST, &|block| block.to_owned())
        });
        for (name, value) in self.values() {
            filled = filled.replace(name, &value);
        }
        filled
    }

    /// The line, or what is left of it, if it is for this setup.
    fn kept<'l>(&self, line: &'l str) -> Option<&'l str> {
        let Some((setups, rest)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else { return Some(line) };
        if !setups.bytes().all(|byte| byte == b',' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
            || ["for", "end"].contains(&setups)
        {
            return Some(line);
        }
        setups.split(',').any(|setup| setup == self.setup.name()).then_some(rest)
    }

    fn values(&self) -> [(&'static str, String); 13] {
        let escaped = |pem: &str| pem.replace('\n', "\\n");
        [
            ("@PORT@", self.address.port().to_string()),
            ("@ADMIN@", self.admin.to_string()),
            ("@ADMIN_PORT@", self.admin.port().to_string()),
            ("@ENGINE_PORT@", self.engine_port.to_string()),
            ("@DIR@", self.directory.to_string_lossy().into_owned()),
            ("@THREADS@", self.threads.to_string()),
            ("@CONNECTIONS@", self.connections.to_string()),
            ("@FILES@", (2 * self.connections + OTHER_FILES).to_string()),
            ("@CA@", escaped(&self.certificates.ca)),
            ("@CERTIFICATE@", escaped(&self.certificates.certificate)),
            ("@KEY@", escaped(&self.certificates.key)),
            ("@KEY_SET@", self.key_set.clone()),
            ("@API_KEY@", API_KEY.to_owned()),
        ]
    }
}

/// Text in which the block of that name stands so many times, each with its number for `@NAME@`.
pub(crate) fn repeated(text: &str, name: &str, times: u32, inner: &dyn Fn(&str) -> String) -> String {
    let (start, end) = (format!("@for {name}\n"), format!("@end {name}\n"));
    let Some((before, rest)) = text.split_once(&start) else { return text.to_owned() };
    let Some((block, after)) = rest.split_once(&end) else { return text.to_owned() };
    let block = inner(block);
    let number = format!("@{}@", name.to_uppercase());
    let blocks: String = (0..times).map(|index| block.replace(&number, &index.to_string())).collect();
    [before, &blocks, &repeated(after, name, times, inner)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(setup: Setup, text: &str) -> String {
        let certificates = Certificates { ca: "a\nb\n".into(), certificate: String::new(), key: String::new() };
        let address = ([127, 0, 0, 1], 1).into();
        let directory = Path::new("/d");
        let site = Site {
            address,
            admin: address,
            engine_port: 2,
            directory,
            setup,
            threads: 1,
            connections: 32,
            certificates: &certificates,
            key_set: String::new(),
        };
        site.fill(text)
    }

    #[test]
    fn lines_are_for_setups_and_names_are_filled_in() {
        let text = "@tls,h2 secure @PORT@ \"@CA@\"\n@clear plain @DIR@\nboth";
        assert_eq!(filled(Setup::Tls, text), "secure 1 \"a\\nb\\n\"\nboth\n");
        assert_eq!(filled(Setup::Clear, text), "plain /d\nboth\n");
    }

    #[test]
    fn blocks_stand_for_each_host_and_route() {
        let text = "a\n@for host\nhost-@HOST@:\n@for route\n- @HOST@/@ROUTE@\n@end route\n@end host\nz";
        let page = filled(Setup::Routes(2), text);
        assert!(
            page.starts_with("a\nhost-0:\n- 0/0\n- 0/1\n") && page.ends_with("host-1:\n- 1/0\n- 1/1\n- 1/2\n- 1/3\n- 1/4\nz\n"),
            "{page}"
        );
        assert_eq!(filled(Setup::Clear, text), "a\nz\n");
    }
}
