//! Handshakes between our client's and our server's configurations.

use std::io;

use pailou_snapshot::{
    AltNameKind, AltNameMatch, ClientCertificates, ClientTrust, Protocol, Roots, San, ServerTls, UpstreamTls, ValueMatch,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, date_time_ymd,
};
use rustls::{crypto::ring::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{presented::sha256, *};

struct Authority {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Authorities of one name would be taken for one with two keys.
    params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { der, issuer: Issuer::new(params, key) }
}

impl Authority {
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&private).unwrap()))
    }

    fn named(&self, names: &[&str]) -> Arc<CertifiedKey> {
        self.issue(|params| {
            params.subject_alt_names = names
                .iter()
                .map(|name| match name.contains("://") {
                    true => SanType::URI((*name).try_into().unwrap()),
                    false => SanType::DnsName((*name).try_into().unwrap()),
                })
                .collect();
        })
    }

    fn settings(&self, sni: &str, names: Vec<San>) -> UpstreamTls {
        UpstreamTls {
            sni: sni.into(),
            is_by_host: false,
            names,
            roots: Roots::Certificates(vec![self.der.clone()].into()),
            insecure_skip_verify: false,
            client_certificate: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        }
    }
}

fn host(name: &str) -> San {
    San::Hostname(name.into())
}

fn serving(certificates: Vec<Arc<CertifiedKey>>) -> ServerTls {
    ServerTls {
        certificates,
        client_certificates: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ciphers: Vec::new(),
    }
}

/// Shakes hands; the certificate that the client saw, and the protocol agreed upon.
async fn shake(client: &UpstreamTls, server: &ServerTls) -> io::Result<(CertificateDer<'static>, Vec<u8>)> {
    let client = ClientTls::new(client, Protocol::Http2).unwrap();
    let server = server_config(server).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let connect = TlsConnector::from(Arc::clone(&client.config)).connect(client.server_name.clone(), near);
    let (accepted, connected) = tokio::join!(TlsAcceptor::from(server).accept(far), connect);
    let connected = connected?;
    accepted?;
    let session = connected.get_ref().1;
    let alpn = session.alpn_protocol().unwrap_or_default().to_vec();
    Ok((session.peer_certificates().unwrap()[0].clone(), alpn))
}

async fn refusal(client: &UpstreamTls, certificate: Arc<CertifiedKey>) -> String {
    reason(&shake(client, &serving(vec![certificate])).await.unwrap_err())
}

#[tokio::test]
async fn a_certificate_with_the_name_from_a_trusted_authority_is_accepted() {
    let ca = authority();
    let certificate = ca.named(&["*.example.com"]);
    let (_, alpn) =
        shake(&ca.settings("api.example.com", vec![host("api.example.com")]), &serving(vec![certificate])).await.unwrap();
    assert_eq!(alpn, b"h2");
}

#[tokio::test]
async fn a_wrong_name_is_refused_and_named() {
    let ca = authority();
    let message = refusal(&ca.settings("api.example.com", vec![host("api.example.com")]), ca.named(&["other.example.com"])).await;
    assert_eq!(message, "certificate name mismatch: wanted api.example.com, the certificate is for other.example.com");
}

#[tokio::test]
async fn alternative_names_take_the_place_of_the_server_name() {
    let ca = authority();
    let uri = San::Uri("spiffe://mesh/ns/a".into());
    let settings = ca.settings("api.example.com", vec![host("alt.example.com"), uri]);
    for accepted in ["alt.example.com", "spiffe://mesh/ns/a"] {
        shake(&settings, &serving(vec![ca.named(&[accepted])])).await.unwrap();
    }
    for refused in ["api.example.com", "spiffe://mesh/ns/b", "spiffe://mesh/ns/a/x"] {
        let message = refusal(&settings, ca.named(&[refused])).await;
        assert!(message.contains("name mismatch"), "{refused}: {message}");
    }
}

#[tokio::test]
async fn an_unknown_authority_and_an_expired_certificate_are_refused() {
    let (ca, other) = (authority(), authority());
    let settings = ca.settings("a.example", vec![host("a.example")]);
    assert!(refusal(&settings, other.named(&["a.example"])).await.contains("not from a trusted authority"));
    let expired = ca.issue(|params| {
        params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    assert!(refusal(&settings, expired).await.contains("certificate expired"));
}

/// A certificate that signed itself, as an authority's or not, with its key.
fn self_signed(name: &str, is_ca: IsCa, change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], any_supported_type(&private).unwrap()))
}

fn trusting(trusted: &CertifiedKey) -> UpstreamTls {
    UpstreamTls {
        roots: Roots::Certificates(vec![trusted.cert[0].clone()].into()),
        ..authority().settings("a.example", vec![host("a.example")])
    }
}

#[tokio::test]
async fn a_certificate_that_is_itself_trusted_is_accepted() {
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for is_ca in [ca, IsCa::NoCa, IsCa::ExplicitNoCa] {
        let own = self_signed("a.example", is_ca, |_| {});
        shake(&trusting(&own), &serving(vec![own])).await.unwrap();
    }
    // Its authority need not be known.
    let issued = authority().named(&["a.example"]);
    shake(&trusting(&issued), &serving(vec![issued])).await.unwrap();

    let other = self_signed("other.example", ca, |_| {});
    assert!(refusal(&trusting(&other), other.clone()).await.contains("name mismatch"));
    let expired = self_signed("a.example", ca, |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(refusal(&trusting(&expired), expired.clone()).await.contains("certificate expired"));
    let (own, twin) = (self_signed("a.example", ca, |_| {}), self_signed("a.example", ca, |_| {}));
    let message = refusal(&trusting(&own), twin).await;
    assert!(message.contains("basicConstraints=CA:FALSE"), "{message}");
}

#[tokio::test]
async fn the_host_of_a_request_may_be_the_name() {
    let ca = authority();
    let settings = UpstreamTls { is_by_host: true, ..ca.settings("first.example", Vec::new()) };
    let server = serving(vec![ca.named(&["first.example"]), ca.named(&["*.models.example"])]);
    let client = ClientTls::new(&settings, Protocol::Http1).unwrap();
    for (host, is_accepted) in
        [("first.example", true), ("a.models.example:8443", true), ("A.Models.Example", true), ("elsewhere.example", false)]
    {
        let named = client.for_host(&host.parse().unwrap()).unwrap();
        let entered = enter(&named, &server).await;
        assert_eq!(entered.is_ok(), is_accepted, "{host}: {entered:?}");
        assert_ne!(named.identity, client.identity);
        assert_eq!(named.identity, client.for_host(&host.parse().unwrap()).unwrap().identity);
    }
    enter(&client, &server).await.unwrap();
    let fixed = ClientTls::new(&ca.settings("first.example", Vec::new()), Protocol::Http1).unwrap();
    assert!(fixed.for_host(&"a.models.example".parse().unwrap()).is_none());
}

#[tokio::test]
async fn only_when_told_so_is_any_certificate_accepted() {
    let (ca, other) = (authority(), authority());
    let settings = UpstreamTls { insecure_skip_verify: true, ..ca.settings("a.example", vec![host("a.example")]) };
    shake(&settings, &serving(vec![other.named(&["b.example"])])).await.unwrap();
}

#[tokio::test]
async fn the_certificate_is_chosen_by_server_name() {
    let ca = authority();
    let (first, exact, wildcard) = (ca.named(&["first.example"]), ca.named(&["a.b.example"]), ca.named(&["*.b.example"]));
    let server = serving(vec![Arc::clone(&first), Arc::clone(&wildcard), Arc::clone(&exact)]);
    for (sni, expected) in [("a.b.example", exact), ("x.b.example", wildcard), ("elsewhere.example", first)] {
        let settings = UpstreamTls { insecure_skip_verify: true, ..ca.settings(sni, Vec::new()) };
        let (seen, _) = shake(&settings, &server).await.unwrap();
        assert_eq!(seen, expected.cert[0], "{sni}");
    }
}

#[test]
fn unusable_settings_are_refused() {
    let ca = authority();
    let settings = ca.settings("a.example", Vec::new());
    let error = |settings| ClientTls::new(&settings, Protocol::Http1).unwrap_err().to_string();
    assert_eq!(error(UpstreamTls { sni: "no name".into(), ..settings.clone() }), "`no name` is not a server name");
    assert_eq!(
        error(UpstreamTls { roots: Roots::Certificates(vec![CertificateDer::from(vec![1])].into()), ..settings.clone() }),
        "none of the configured certificate authorities is a valid certificate"
    );
    let turned = UpstreamTls { min_version: TlsVersion::V1_3, max_version: TlsVersion::V1_2, ..settings };
    assert_eq!(error(turned), "no TLS version lies between the minimum and the maximum");
    let server = ServerTls { ciphers: vec!["RC4-MD5".into()], ..serving(vec![ca.named(&["a.example"])]) };
    assert_eq!(server_config(&server).unwrap_err().to_string(), "none of the cipher suites is supported: RC4-MD5");
}

#[test]
fn equal_settings_share_connections_and_different_ones_do_not() {
    let ca = authority();
    let identity = |settings: &UpstreamTls| ClientTls::new(settings, Protocol::Http1).unwrap().identity;
    let settings = ca.settings("a.example", vec![host("a.example")]);
    assert_eq!(identity(&settings), identity(&settings.clone()));
    assert_ne!(identity(&settings), identity(&ca.settings("a.example", vec![San::Uri("a.example".into())])));
    assert_ne!(identity(&settings), identity(&authority().settings("a.example", vec![host("a.example")])));
    assert_ne!(identity(&settings), identity(&UpstreamTls { insecure_skip_verify: true, ..settings.clone() }));
}

/// Shakes hands as [`shake`] does, and has one byte sent back, which a client of TLS 1.3 waits for to know that it was let in.
async fn enter(client: &ClientTls, server: &ServerTls) -> io::Result<()> {
    let server = server_config(server).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let connect = TlsConnector::from(Arc::clone(&client.config)).connect(client.server_name.clone(), near);
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok::<_, io::Error>(stream)
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    let (_accepted, mut connected) = (accepted?, connected?);
    assert_eq!(connected.read_u8().await?, b'!');
    Ok(())
}

#[tokio::test]
async fn clients_are_let_in_by_their_certificates() {
    let (ca, clients, others) = (authority(), authority(), authority());
    let own = self_signed("client.example", IsCa::Ca(BasicConstraints::Unconstrained), |_| {});
    let trusted = ClientTrust::of_authorities(vec![clients.der.clone(), authority().der, own.cert[0].clone()].into());
    let trusted = Arc::new(trusted);
    let [valid, or_none] = [ClientCertificates::Valid, ClientCertificates::ValidOrNone].map(|asked| asked(Arc::clone(&trusted)));
    let expired = clients.issue(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let cases = [
        (Some(clients.named(&[])), true),
        (Some(own), true),
        (Some(others.named(&[])), false),
        (Some(expired), false),
        (None, false),
    ];
    for (max_version, (certificate, is_valid)) in
        [TlsVersion::V1_2, TlsVersion::V1_3].into_iter().flat_map(|version| cases.iter().map(move |case| (version, case)))
    {
        let client = UpstreamTls {
            client_certificate: certificate.clone(),
            max_version,
            ..ca.settings("a.example", vec![host("a.example")])
        };
        let client = ClientTls::new(&client, Protocol::Http2).unwrap();
        for (asked, is_let_in) in [
            (Some(valid.clone()), *is_valid),
            (Some(or_none.clone()), *is_valid || certificate.is_none()),
            (Some(ClientCertificates::Any), true),
            (None, true),
        ] {
            let server = ServerTls { client_certificates: asked, ..serving(vec![ca.named(&["a.example"])]) };
            let entered = enter(&client, &server).await;
            assert_eq!(entered.is_ok(), is_let_in, "{max_version:?}, {}: {entered:?}", certificate.is_some());
        }
    }
}

#[tokio::test]
async fn a_session_from_where_nothing_was_asked_opens_no_door() {
    let (ca, clients) = (authority(), authority());
    let open = serving(vec![ca.named(&["a.example"])]);
    for (max_version, asked) in [TlsVersion::V1_2, TlsVersion::V1_3]
        .into_iter()
        .flat_map(|version| [(version, None), (version, Some(ClientCertificates::Any))])
    {
        let client = UpstreamTls { max_version, ..ca.settings("a.example", vec![host("a.example")]) };
        let client = ClientTls::new(&client, Protocol::Http2).unwrap();
        enter(&client, &ServerTls { client_certificates: asked, ..open.clone() }).await.unwrap();
        let valid = ClientCertificates::Valid(ClientTrust::of_authorities(vec![clients.der.clone()].into()).into());
        let closed = ServerTls { client_certificates: Some(valid), ..open.clone() };
        enter(&client, &closed).await.unwrap_err();
    }
}

/// An authority that may sign lists of revoked certificates.
fn revoking_authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { der, issuer: Issuer::new(params, key) }
}

impl Authority {
    /// A list that is good until `year`.
    fn revoke(&self, serial: u64, year: i32) -> CertificateRevocationListDer<'static> {
        let revoked = RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().into()
    }
}

/// Whether a client with this certificate is let in.
async fn is_let_in(certificate: &Arc<CertifiedKey>, trust: ClientTrust) -> bool {
    let ca = authority();
    let client =
        UpstreamTls { client_certificate: Some(Arc::clone(certificate)), ..ca.settings("a.example", vec![host("a.example")]) };
    let client = ClientTls::new(&client, Protocol::Http2).unwrap();
    let asked = Some(ClientCertificates::Valid(trust.into()));
    enter(&client, &ServerTls { client_certificates: asked, ..serving(vec![ca.named(&["a.example"])]) }).await.is_ok()
}

#[tokio::test]
async fn a_clients_certificate_has_one_of_the_digests() {
    let (clients, others) = (authority(), authority());
    let [listed, other, foreign] = [clients.named(&[]), clients.named(&[]), others.named(&[])];
    let digest = |bytes: &[u8]| <[u8; 32]>::try_from(sha256(bytes)).unwrap();
    let key = |certificate: &CertifiedKey| {
        digest(&webpki::EndEntityCert::try_from(&certificate.cert[0]).unwrap().subject_public_key_info())
    };
    let of_authority = ClientTrust::of_authorities(vec![clients.der.clone()].into());
    for trust in [
        ClientTrust { certificate_digests: vec![[7; 32], digest(&listed.cert[0])], ..of_authority.clone() },
        ClientTrust { key_digests: vec![[7; 32], key(&listed)], ..of_authority.clone() },
        ClientTrust { key_digests: vec![key(&listed)], certificate_digests: vec![[7; 32]], ..of_authority.clone() },
        ClientTrust { key_digests: vec![key(&listed)], ..ClientTrust::default() },
    ] {
        assert!(is_let_in(&listed, trust.clone()).await, "{trust:?}");
        assert!(!is_let_in(&other, trust.clone()).await, "{trust:?}");
    }
    // The digest does not replace the authority.
    assert!(!is_let_in(&foreign, ClientTrust { key_digests: vec![key(&foreign)], ..of_authority }).await);
    let nothing = ServerTls { client_certificates: Some(ClientCertificates::Valid(Arc::default())), ..serving(vec![listed]) };
    assert!(matches!(server_config(&nothing), Err(TlsConfigError::NoAuthority)));
}

#[tokio::test]
async fn a_clients_certificate_has_one_of_the_names() {
    let clients = authority();
    let certificate = clients.issue(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("*.Clients.example".try_into().unwrap()),
            SanType::URI("spiffe://test/ns/prod/sa/app".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::Rfc822Name("dev@example.com".try_into().unwrap()),
        ];
    });
    let exact = |value: &str| ValueMatch::Exact(value.into());
    for (kind, value, expected) in [
        (AltNameKind::Dns, exact("*.clients.example"), true),
        (AltNameKind::Dns, exact("a.clients.example"), true),
        (AltNameKind::Dns, exact("b.a.clients.example"), false),
        (AltNameKind::Dns, exact("clients.example"), false),
        (AltNameKind::Dns, ValueMatch::Suffix(".example".into()), true),
        (AltNameKind::Uri, ValueMatch::Prefix("spiffe://test/ns/prod/".into()), true),
        (AltNameKind::Uri, exact("spiffe://test/ns/prod"), false),
        (AltNameKind::Ip, exact("10.0.0.1"), true),
        (AltNameKind::Email, exact("dev@example.com"), true),
        (AltNameKind::Email, exact("spiffe://test/ns/prod/sa/app"), false),
        (AltNameKind::Other("1.2.3".into()), exact("dev@example.com"), false),
    ] {
        let name = AltNameMatch { kind, value };
        let names = vec![AltNameMatch { kind: AltNameKind::Uri, value: exact("spiffe://other") }, name.clone()];
        let trust = ClientTrust { names, ..ClientTrust::of_authorities(vec![clients.der.clone()].into()) };
        assert_eq!(is_let_in(&certificate, trust).await, expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_any_where_the_list_is_old_or_missing() {
    let (clients, others) = (revoking_authority(), revoking_authority());
    let numbered = |serial: u64| clients.issue(|params| params.serial_number = Some(serial.into()));
    let (good, revoked) = (numbered(1), numbered(2));
    let trust = |lists: Vec<CertificateRevocationListDer<'static>>| ClientTrust {
        revocations: lists.into(),
        ..ClientTrust::of_authorities(vec![clients.der.clone(), others.der.clone()].into())
    };
    let list = clients.revoke(2, 2100);
    assert!(is_let_in(&good, trust(vec![list.clone(), others.revoke(7, 2100)])).await);
    assert!(!is_let_in(&revoked, trust(vec![list.clone()])).await);
    let of_leaves = ClientTrust { revocation_of_leaf_only: true, ..trust(vec![list]) };
    assert!(!is_let_in(&revoked, of_leaves).await);
    assert!(!is_let_in(&good, trust(vec![clients.revoke(2, 2021)])).await, "the list is old");
    assert!(!is_let_in(&good, trust(vec![others.revoke(7, 2100)])).await, "the list is another authority's");
}
