//! Protections that a test takes out, to see that their absence is found.
//!
//! Compiled in only with the feature `mutants`; otherwise everything is there, whatever the
//! environment says. What is in `lua/` needs no word here: a test gives a folder with other scripts.

/// Whether this server lacks the protection `name`: `ONSALE_LACKS` lists the names, with commas.
#[cfg(feature = "mutants")]
#[must_use]
pub fn lacks(name: &str) -> bool {
    std::env::var("ONSALE_LACKS").is_ok_and(|names| names.split(',').any(|lacking| lacking == name))
}

/// Nothing is lacking: mutants are compiled in only with the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline]
#[must_use]
pub const fn lacks(_name: &str) -> bool {
    false
}

/// The script `name` from the folder `ONSALE_LUA`, or as it was built in.
#[cfg(feature = "mutants")]
#[must_use]
pub fn script(name: &str, built_in: &'static str) -> &'static str {
    let Some(folder) = std::env::var_os("ONSALE_LUA") else {
        return built_in;
    };
    let path = std::path::Path::new(&folder).join(name).with_extension("lua");
    // An empty script answers nothing that its caller understands.
    std::fs::read_to_string(path).unwrap_or_default().leak()
}

/// The script as it was built in.
#[cfg(not(feature = "mutants"))]
#[inline]
#[must_use]
pub const fn script(_name: &str, built_in: &'static str) -> &'static str {
    built_in
}
