//! Backends that are the machine itself, where they must not be: the admin endpoint is there.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";

#[tokio::test]
async fn neither_an_address_nor_a_name_leads_to_the_machine_itself() {
    let ear = Ear::start().await;
    let by_address = backend("ear", ear.address, "");
    let by_name = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: ear}}\nspec: {{endpoints: [{{fqdn: {{hostname: \
         localhost, port: {}}}}}]}}\n",
        ear.address.port()
    );
    for objects in [route(TO_EAR) + &by_address, route(TO_EAR) + &by_name] {
        let gateway = Gateway::serve_without_local_backends(&objects);
        let answer = gateway.ask("GET /receipts HTTP/1.1\r\nhost: 127.0.0.1").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        gateway.log.line("--allow-local-backends").await;
        assert!(ear.heads.lock().is_empty());
        // Elsewhere the same objects are served.
        let gateway = Gateway::serve(&objects);
        assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a").await.starts_with("HTTP/1.1 200"));
        ear.next().await;
    }
}
