//! Proxies that a viewer has chosen.

use pailou_snapshot::Name;

use super::ProxyTarget;

/// All proxies, those of a Gateway, or one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selection {
    #[default]
    All,
    /// Namespace and name of the Gateway.
    Gateway(Name),
    /// Namespace and name of the pod.
    Proxy(Name),
}

impl Selection {
    /// Reads the parameters `gateway` and `proxy`, each NAMESPACE/NAME; the latter wins. One that is none selects all.
    pub(crate) fn of(gateway: Option<&str>, proxy: Option<&str>) -> Self {
        let name = |text: Option<&str>| {
            let (namespace, name) = text?.split_once('/')?;
            (!namespace.is_empty() && !name.is_empty()).then(|| Name::new(namespace, name))
        };
        name(proxy).map(Self::Proxy).or_else(|| name(gateway).map(Self::Gateway)).unwrap_or_default()
    }

    /// Whether a proxy is among those.
    pub(crate) fn has(&self, proxy: &ProxyTarget) -> bool {
        match self {
            Self::All => true,
            Self::Gateway(gateway) => proxy.gateway == *gateway,
            Self::Proxy(name) => proxy.name == *name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_chosen_by_its_name_or_its_gateways() {
        let proxy = ProxyTarget { gateway: Name::new("a", "g"), name: Name::new("a", "g-1"), admin: None };
        let has = |gateway: Option<&str>, name: Option<&str>| Selection::of(gateway, name).has(&proxy);
        assert!(has(None, None) && has(Some("a/g"), None) && has(None, Some("a/g-1")) && has(Some("b/h"), Some("a/g-1")));
        assert!(!has(Some("b/g"), None) && !has(Some("a/g"), Some("a/g-2")));
        assert_eq!(Selection::of(Some("g"), Some("/")), Selection::All);
    }
}
