//! Which number has a feature of an interface, and is it on?
//!
//! Owns the features that have a name but no command of their own (linux/ethtool.h: the string set
//! ETH_SS_FEATURES and bit masks in its order). It never calls the kernel but through `Device`.

use super::Device;
use crate::error::{Context, Result, SysError};

const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;

const FEATURE_NAMES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const NAME_LEN: usize = 32;

/// Switches the feature of `interface` that ethtool(8) calls `name`, such as `rx-gro` or
/// `tx-udp-segmentation`, in the calling thread's namespace.
///
/// # Errors
/// EOPNOTSUPP if the driver does not let it be switched or another feature stands against it;
/// ENOENT if the kernel knows no such feature.
pub fn set_feature(interface: &str, name: &str, on: bool) -> Result<()> {
    let what = || format!("switch {name} of {interface}");
    let device = Device::new(interface, what)?;
    let place = Place::find(&device, name, &what)?;
    let mut request = vec![0; 2 + place.blocks * 2];
    set(&mut request, 0, SET_FEATURES);
    set(&mut request, 1, place.blocks_word());
    // Of each block: which bits are meant, and what they are to be.
    let at = 2 + place.block * 2;
    set(&mut request, at, place.bit);
    set(&mut request, at + 1, if on { place.bit } else { 0 });
    match device.ioctl(&mut request).context(what)? {
        0 => Ok(()),
        _ => Err(failed(what(), libc::EOPNOTSUPP)),
    }
}

/// Whether the feature of `interface` that ethtool(8) calls `name` is on.
///
/// # Errors
/// ENOENT if the kernel knows no such feature.
pub fn feature(interface: &str, name: &str) -> Result<bool> {
    let what = || format!("look up {name} of {interface}");
    let device = Device::new(interface, what)?;
    let place = Place::find(&device, name, &what)?;
    let mut request = vec![0; 2 + place.blocks * 4];
    set(&mut request, 0, GET_FEATURES);
    set(&mut request, 1, place.blocks_word());
    device.ioctl(&mut request).context(what)?;
    // Of each block: available, requested, active, never changed.
    let active = request.get(2 + place.block * 4 + 2).copied().unwrap_or(0);
    Ok(active & place.bit != 0)
}

/// Where a feature is in the masks.
struct Place {
    block: usize,
    bit: u32,
    /// Blocks of 32 features in all.
    blocks: usize,
}

impl Place {
    fn find(device: &Device, name: &str, what: &impl Fn() -> String) -> Result<Self> {
        let count = count(device).context(what)?;
        let words = usize::try_from(count).unwrap_or(0) * NAME_LEN / size_of::<u32>();
        let mut request = vec![0; 3 + words];
        set(&mut request, 0, GET_STRINGS);
        set(&mut request, 1, FEATURE_NAMES);
        set(&mut request, 2, count);
        device.ioctl(&mut request).context(what)?;
        let names = request.get(3..).unwrap_or_default();
        let mut names = names.chunks(NAME_LEN / size_of::<u32>());
        let index = names.position(|words| is_name(words, name));
        let index = index.ok_or_else(|| failed(what(), libc::ENOENT))?;
        Ok(Self {
            block: index / 32,
            bit: 1 << (index % 32),
            blocks: usize::try_from(count.div_ceil(32)).unwrap_or(0),
        })
    }

    fn blocks_word(&self) -> u32 {
        u32::try_from(self.blocks).unwrap_or(0)
    }
}

/// How many features the kernel has names for.
fn count(device: &Device) -> std::io::Result<u32> {
    // `struct ethtool_sset_info`: command, reserved, a mask of 64 bits, one count.
    let mut request = [GET_SET_INFO, 0, 0, 0, 0];
    let half = if cfg!(target_endian = "little") { 2 } else { 3 };
    set(&mut request, half, 1 << FEATURE_NAMES);
    device.ioctl(&mut request)?;
    Ok(request[4])
}

/// Whether `words` are `name` and NULs.
fn is_name(words: &[u32], name: &str) -> bool {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    bytes.take_while(|byte| *byte != 0).eq(name.bytes())
}

fn set(request: &mut [u32], at: usize, value: u32) {
    if let Some(word) = request.get_mut(at) {
        *word = value;
    }
}

fn failed(what: String, errno: i32) -> SysError {
    SysError::new(what, std::io::Error::from_raw_os_error(errno))
}
