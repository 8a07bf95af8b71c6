//! What is in `CNI_ARGS`?
//!
//! Owns the reading of `KEY=value;KEY=value` by the rules of the Go library that runtimes test
//! against: every pair has exactly one `=`, and a key we do not know is an error unless
//! `IgnoreUnknown` is true. Absent altogether is fine: `ctr run --cni` sends none.

/// The pairs we know; empty where absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    /// `K8S_POD_NAMESPACE`
    pub(crate) namespace: String,
    /// `K8S_POD_NAME`
    pub(crate) pod: String,
    /// `K8S_POD_UID`
    pub(crate) uid: String,
    /// `IP`: addresses, separated by commas.
    pub(crate) ip: String,
    /// `MAC`
    pub(crate) mac: String,
}

/// Why `CNI_ARGS` cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("{0:?} is not KEY=value")]
    Pair(String),
    #[error("IgnoreUnknown={0:?} is none of true, false, 1 and 0")]
    Bool(String),
    #[error("unknown keys: {0}; IgnoreUnknown=true allows them")]
    Unknown(String),
}

impl Args {
    pub(crate) fn read(text: &str) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        let mut ignored = String::new();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let (key, value) = halves(pair)?;
            let field = match key {
                "K8S_POD_NAMESPACE" => &mut args.namespace,
                "K8S_POD_NAME" => &mut args.pod,
                "K8S_POD_UID" => &mut args.uid,
                "K8S_POD_INFRA_CONTAINER_ID" => &mut ignored,
                "IP" => &mut args.ip,
                "MAC" => &mut args.mac,
                "IgnoreUnknown" => {
                    ignore_unknown = boolean(value)?;
                    continue;
                }
                _ => {
                    unknown.push(key);
                    continue;
                }
            };
            value.clone_into(field);
        }
        if ignore_unknown || unknown.is_empty() {
            return Ok(args);
        }
        Err(ArgsError::Unknown(unknown.join(", ")))
    }
}

fn halves(pair: &str) -> Result<(&str, &str), ArgsError> {
    pair.split_once('=')
        .filter(|(_, value)| !value.contains('='))
        .ok_or_else(|| ArgsError::Pair(pair.to_owned()))
}

fn boolean(value: &str) -> Result<bool, ArgsError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ArgsError::Bool(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containerd_sends() {
        let text = "K8S_POD_NAME=web;K8S_POD_UID=u1;IgnoreUnknown=1;\
                    K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_NAMESPACE=shop;OTHER=x";
        let args = Args::read(text).unwrap();
        assert_eq!(
            (&*args.namespace, &*args.pod, &*args.uid),
            ("shop", "web", "u1")
        );
        assert_eq!(Args::read("").unwrap(), Args::default());
    }

    #[test]
    fn unknown_keys_need_permission() {
        let unknown = Err(ArgsError::Unknown("A, B".into()));
        assert_eq!(Args::read("A=1;IP=10.0.0.1;B="), unknown);
        assert_eq!(Args::read("A=1;B=;IgnoreUnknown=False"), unknown);
        // Wherever it stands.
        let allowed = Args::read("A=1;IP=10.0.0.1;IgnoreUnknown=TRUE").unwrap();
        assert_eq!(allowed.ip, "10.0.0.1");
    }

    #[test]
    fn malformed_pairs_are_named() {
        for (text, pair) in [
            ("IP", "IP"),
            ("IP=1;", ""),
            ("IP=a=b", "IP=a=b"),
            (";", ""),
            ("MAC=x;junk;IP=1", "junk"),
        ] {
            assert_eq!(
                Args::read(text),
                Err(ArgsError::Pair(pair.into())),
                "{text}"
            );
        }
        let bad = Err(ArgsError::Bool("yes".into()));
        assert_eq!(Args::read("IgnoreUnknown=yes"), bad);
    }
}
