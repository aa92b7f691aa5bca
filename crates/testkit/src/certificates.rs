//! Throw-away certificates for TLS tests: a CA and what it signs, as PEM text. Made anew each
//! time, so that nothing in the repository expires.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certificate authority that lives as long as the test.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate: what a client trusts.
    pub certificate: String,
}

/// A server's certificate with its key.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: String,
}

impl TestCa {
    /// A new CA. All of them have the same name: only the key tells one from another.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, certificate })
    }

    /// A certificate for these host names and addresses.
    pub fn server(&self, names: &[&str]) -> Result<ServerCertificate> {
        self.sign(&Self::params(names)?)
    }

    /// One that was valid once.
    pub fn expired_server(&self, names: &[&str]) -> Result<ServerCertificate> {
        let mut params = Self::params(names)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    fn params(names: &[&str]) -> Result<CertificateParams> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(CertificateParams::new(names)?)
    }

    fn sign(&self, params: &CertificateParams) -> Result<ServerCertificate> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        Ok(ServerCertificate { certificate, key })
    }
}
