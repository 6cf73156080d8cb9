//! A certificate for a server on this machine, and the private authority that signed it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose as Usage,
};

/// What a server needs to prove who it is, in PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// For `localhost` and 127.0.0.1.
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        // Two names, or the server's certificate looks as if the server had signed it.
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![Usage::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server = CertificateParams::new(["localhost", "127.0.0.1"].map(String::from))?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &authority)?.pem();
        Ok(Self { authority: authority.pem(), certificate, key: key.serialize_pem() })
    }
}
