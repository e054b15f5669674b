package mission

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

// writeAuthority makes ca.crt, and service.crt with service.key for a host name.
func writeAuthority(directory, host string) error {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serviceKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	begin, end := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority of the mission's test"}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	service := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: begin, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return err
	}
	serviceDER, err := x509.CreateCertificate(rand.Reader, service, authority, serviceKey.Public(), authorityKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serviceKey)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt":      {Type: "CERTIFICATE", Bytes: authorityDER},
		"service.crt": {Type: "CERTIFICATE", Bytes: serviceDER},
		"service.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(directory, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// authoritiesOfABundle has the policy of the guide trust what a ClusterTrustBundle holds, which comes later than the policy.
func authoritiesOfABundle(t *testing.T, gateway lab.Endpoint, call lab.Request) {
	const patch = `[{"op":"remove","path":"/spec/validation/wellKnownCACertificates"},
		{"op":"add","path":"/spec/validation/caCertificateRefs","value":[{"group":"certificates.k8s.io","kind":"ClusterTrustBundle","name":"hosted-service"}]}]`
	lab.Kubectl(t, "patch", "backendtlspolicies.gateway.networking.k8s.io/enable-backend-tls", "--type=json", "-p", patch)
	defer gateway.Await(t, call, http.StatusOK)
	defer lab.Kubectl(t, "patch", "backendtlspolicies.gateway.networking.k8s.io/enable-backend-tls", "--type=merge",
		"-p", `{"spec":{"validation":{"caCertificateRefs":null,"wellKnownCACertificates":"System"}}}`)
	gateway.Await(t, call, http.StatusInternalServerError)
	authority, err := os.ReadFile(filepath.Join(*roots, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	lab.KubectlInput(t, fmt.Sprintf("apiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata: {name: hosted-service}\nspec:\n  trustBundle: |\n    %s\n",
		strings.ReplaceAll(strings.TrimSpace(string(authority)), "\n", "\n    ")), "create", "-f", "-")
	gateway.Await(t, call, http.StatusOK)
	lab.Kubectl(t, "delete", "clustertrustbundle/hosted-service")
	gateway.Await(t, call, http.StatusInternalServerError)
}
