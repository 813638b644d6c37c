//! Who is believed over TLS, and as whom we show ourselves: from PEM files that only root could have written. Certificates are
//! always checked; there is no switch for it.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{config, trusted};

/// Largest file of certificates, bytes: all authorities of the world have a quarter of that.
const LARGEST: u64 = 1024 * 1024;

/// Why TLS can't be spoken.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Whom we believe, and who we are.
#[derive(Clone)]
pub struct Tls {
    /// None: Mozilla's list.
    authorities: Option<Vec<CertificateDer<'static>>>,
    identity: Option<Identity>,
    config: Arc<ClientConfig>,
}

/// A certificate, and the key that proves it.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, then those of its authorities.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.authorities.as_ref().map(Vec::len);
        f.debug_struct("Tls").field("authorities", &authorities).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads what is configured.
    ///
    /// # Errors
    /// When a file can't be read, others could have written it or read the key, or it isn't what it is to be.
    pub fn read(files: &config::Tls) -> Result<Self, TlsError> {
        let authorities = files.ca_file.as_deref().map(certificates).transpose()?;
        let identity = files.identity.as_ref().map(|(chain, key)| -> Result<Identity, TlsError> {
            let chain = certificates(chain)?;
            let pem = read(key, trusted::SECRET)?;
            Ok(Identity { chain, key: pem })
        });
        let identity = identity.transpose()?;
        let config = Arc::new(client(files, authorities.as_deref(), identity.as_ref())?);
        Ok(Self { authorities, identity, config })
    }

    /// The authorities that are believed; none for Mozilla's.
    #[must_use]
    pub fn authorities(&self) -> Option<&[CertificateDer<'static>]> {
        self.authorities.as_deref()
    }

    /// Who we are, where that is asked.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// For whoever speaks TLS itself.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

fn client(
    files: &config::Tls,
    authorities: Option<&[CertificateDer<'static>]>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let of = |path: Option<&Path>, why: String| TlsError {
        path: path.map(Path::to_owned).unwrap_or_default(),
        why,
    };
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(authorities) => {
            for authority in authorities {
                let added = roots.add(authority.clone());
                added.map_err(|error| of(files.ca_file.as_deref(), format!("no authority: {error}")))?;
            }
        }
    }
    let provider = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let versions = provider.with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| of(None, error.to_string()))?.with_root_certificates(roots);
    let Some(Identity { chain, key }) = identity else { return Ok(builder.with_no_client_auth()) };
    let key_file = files.identity.as_ref().map(|(_, key)| key.as_path());
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| of(key_file, format!("it holds no key in PEM: {error}")))?;
    let client = builder.with_client_auth_cert(chain.clone(), key);
    client.map_err(|error| of(key_file, format!("the key doesn't fit the certificate: {error}")))
}

/// All certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, (0o022, "write to it"))?;
    let wrong = |why: String| TlsError { path: path.to_owned(), why };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(wrong("it holds no certificate in PEM".to_owned())),
        Err(error) => Err(wrong(format!("it is no PEM: {error}"))),
    }
}

fn read(path: &Path, (forbidden, what): (u32, &str)) -> Result<Vec<u8>, TlsError> {
    let wrong = |why: String| TlsError { path: path.to_owned(), why };
    let file = trusted::open(path, forbidden, what).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    match bytes.len() as u64 <= LARGEST {
        true => Ok(bytes),
        false => Err(wrong(format!("it has more than {LARGEST} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_s_own_list_of_authorities_is_one() {
        let path = Path::new("/etc/ssl/certs/ca-certificates.crt");
        let files = config::Tls { ca_file: path.exists().then(|| path.to_owned()), identity: None };
        let tls = Tls::read(&files).unwrap();
        assert!(tls.authorities().is_none_or(|all| all.len() > 50), "{tls:?}");
    }

    #[test]
    fn what_isnt_pem_is_said() {
        let path = std::env::temp_dir().join(format!("sensor-tls-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Tls::read(&config::Tls { ca_file: Some(path.clone()), identity: None }).unwrap_err().why
        };
        let pem =
            |inside: &str| format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n");
        assert_eq!(read("nothing"), "it holds no certificate in PEM");
        assert!(read(&pem("!")).starts_with("it is no PEM"));
        assert!(read(&pem("AAAA")).starts_with("no authority"));
        assert!(read(&"x".repeat(1 << 21)).contains("more than 1048576 bytes"));
        std::fs::remove_file(&path).unwrap();
        let identity = Some((path.clone(), path));
        assert!(
            Tls::read(&config::Tls { ca_file: None, identity }).unwrap_err().why.contains("No such file")
        );
    }
}
