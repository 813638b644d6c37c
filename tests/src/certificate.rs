//! Authorities and certificates for tests, made by openssl in a folder that goes with them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::Folder;
use crate::answer::run;

const OPENSSL: &str = "/usr/bin/openssl";
static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);
const KEYS: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Whether there is what makes them.
#[must_use]
pub fn can_be_made() -> bool {
    Path::new(OPENSSL).exists()
}

/// Somebody who says who is who.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
}

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self { folder: Folder::new() };
        let own = authority.files("authority");
        let mut make = Command::new(OPENSSL);
        // Each its own name: one with a name that is known is another error.
        let name = format!("/CN=authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
        make.args(["req", "-x509"]).args(KEYS).args(["-days", "2", "-subj", &name]);
        make.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        done(make.arg("-keyout").arg(&own.key).arg("-out").arg(&own.certificate));
        authority
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> PathBuf {
        self.files("authority").certificate
    }

    /// A certificate for whoever has this name, such as `IP:127.0.0.1`.
    #[must_use]
    pub fn issue(&self, file: &str, name: &str) -> Identity {
        let (own, new) = (self.files("authority"), self.files(file));
        let mut make = Command::new(OPENSSL);
        make.args(["req", "-x509"]).args(KEYS).args(["-days", "2", "-subj", "/CN=somebody", "-CA"]);
        make.arg(own.certificate).arg("-CAkey").arg(own.key);
        make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext"]);
        make.arg(format!("subjectAltName={name}"));
        done(make.arg("-keyout").arg(&new.key).arg("-out").arg(&new.certificate));
        new
    }

    /// The same certificate, which held until yesterday.
    #[must_use]
    pub fn expired(&self, identity: &Identity) -> Identity {
        let (own, old) = (self.files("authority"), self.folder.at("expired.pem"));
        let request = self.folder.at("expired.csr");
        let mut ask = Command::new(OPENSSL);
        ask.args(["x509", "-x509toreq", "-copy_extensions", "copyall", "-in"]).arg(&identity.certificate);
        done(ask.arg("-signkey").arg(&identity.key).arg("-out").arg(&request));
        let mut make = Command::new(OPENSSL);
        make.args(["x509", "-req", "-copy_extensions", "copyall", "-days", "-1", "-in"]).arg(request);
        make.arg("-CA").arg(own.certificate).arg("-CAkey").arg(own.key);
        done(make.args(["-CAcreateserial", "-out"]).arg(&old));
        Identity { certificate: old, key: identity.key.clone() }
    }

    fn files(&self, name: &str) -> Identity {
        Identity {
            certificate: self.folder.at(format!("{name}.pem")),
            key: self.folder.at(format!("{name}.key")),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// For a server with this certificate, which wants one of its clients where they need an authority's.
#[must_use]
pub fn server(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let open = |path: &Path| BufReader::new(File::open(path).expect("a file in PEM"));
    let certificates = |path: &Path| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_reader_iter(open(path)).map(|one| one.expect("a certificate")).collect()
    };
    let key = PrivateKeyDer::from_pem_reader(open(&identity.key)).expect("a key");
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions that ring has");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(&authority.pem()));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("an authority"))
        }
    };
    let chain = certificates(&identity.certificate);
    Arc::new(builder.with_single_cert(chain, key).expect("a key that fits"))
}

fn done(command: &mut Command) {
    let made = run(command);
    assert!(made.status.success(), "{made:?}");
}
