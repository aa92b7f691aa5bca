//! Reading the files that settings name: bounded, and with a fault that names setting and file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::AccessFault;

/// The names of the settings.
pub(super) const CERTIFICATE: &str = "TLS_CERT_FILE";
pub(super) const KEY: &str = "TLS_KEY_FILE";
pub(super) const CLIENT_CA: &str = "TLS_CLIENT_CA_FILE";
pub(super) const TOKENS: &str = "API_TOKENS_FILE";

/// The largest file that is read.
const SIZE_MAX: u64 = 1024 * 1024;

/// All of a file.
pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, AccessFault> {
    contents(path).map_err(|why| fault(setting, path, &why))
}

/// All of a file, or why not.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|fault| fault.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(SIZE_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|fault| fault.to_string())?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("is larger than {SIZE_MAX} bytes"));
    }
    Ok(bytes)
}

/// A fault in a file.
pub(super) fn fault(setting: &'static str, path: &Path, why: &str) -> AccessFault {
    AccessFault { setting, why: format!("{}: {why}", path.display()) }
}
