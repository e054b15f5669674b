// Program oidc-provider is a provider of OpenID Connect that is not ours: zitadel's library with its example's storage, users and login
// page. It adds the URL that a client may come back to after it has logged out, which the example has none of.
//
//	PORT=9998 REDIRECT_URI=http://localhost:8080/oauth2/callback POST_LOGOUT_REDIRECT_URI=http://localhost:8080/ oidc-provider
//
// Client: web, secret: secret. User: test-user@localhost, password: verysecure.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

type provider struct {
	*storage.Storage
}

func (p provider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := p.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found}, nil
}

type client struct {
	op.Client
}

func (client) PostLogoutRedirectURIs() []string {
	return []string{os.Getenv("POST_LOGOUT_REDIRECT_URI")}
}

func main() {
	port := os.Getenv("PORT")
	issuer := "http://localhost:" + port + "/"
	storage.RegisterClients(storage.WebClient("web", "secret", os.Getenv("REDIRECT_URI")))
	stored := provider{storage.NewStorage(storage.NewUserStore(issuer))}
	router := exampleop.SetupServer(issuer, stored, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	log.Fatal(http.ListenAndServe("localhost:"+port, router))
}
