//! Recognizes passwords that are easy to guess.

use zxcvbn::{Score, zxcvbn};

/// Common passwords that zxcvbn rates as several words, each a choice of its own, and the name of this product.
const COMMON: [&str; 8] = [
    "1q2w3e4r5t6y7u8i9o",
    "correcthorsebatterystaple",
    "mypasswordissecret",
    "qwertyuiopasdfghjklzxcvbnm",
    "thequickbrownfox",
    "thisismypassword",
    "weft",
    "zxcvbnmasdfghjklqwertyuiop",
];

/// Whether the password is guessed early. `known`: what an attacker may know of the user, such as the address.
pub(super) fn is_common(password: &str, known: &[&str]) -> bool {
    let simple = simplify(password);
    let known: Vec<String> = known.iter().map(|text| simplify(text)).collect();
    let words: Vec<&str> = COMMON.into_iter().chain(known.iter().map(String::as_str)).collect();
    // zxcvbn rates a long number as several dates and sequences.
    simple.bytes().all(|byte| byte.is_ascii_digit()) || zxcvbn(&simple, &words).score() < Score::Three
}

/// Without case, spaces and what else separates words, because zxcvbn rates each separator as a further guess. Punctuation is
/// replaced, because zxcvbn looks up every combination of the letters that it may stand for: 20 such characters take a second.
/// With digits alone it takes up to 30 ms. zxcvbn ignores what follows the 100th character.
fn simplify(text: &str) -> String {
    let simple = |c| match c {
        ' ' | '-' | '_' | '.' | ',' => None,
        '@' => Some('a'),
        '$' => Some('s'),
        c if c.is_ascii_punctuation() => Some('#'),
        c => Some(c),
    };
    text.to_lowercase().chars().filter_map(simple).collect()
}

#[cfg(test)]
mod tests {
    use super::is_common;

    #[test]
    fn recognizes_common_passwords() {
        for password in [
            "passwordpassword",
            "Password-Password",
            "password12345678",
            "aaaaaaaaaaaaaaa",
            "123123123123123",
            "123456789012345",
            "987654321098765",
            "abcdefghijklmnop",
            "qwertyqwerty2024",
            "admin admin admin",
            "---------------",
            "letmein letmein 1",
            "correct horse battery staple",
            "19991231235959000",
            "P@$$w0rd P@$$w0rd",
            "thisismypassword",
            "mypasswordissecret",
            "qwertyuiopasdfghjkl",
            "1q2w3e4r5t6y7u8i9o",
            "1qaz2wsx3edc4rfv",
            "1qaz2wsx3edc4rfv5tgb",
            "q1w2e3r4t5y6u7i8o9p0",
            "asdfghjklqwertyuiop",
            "qwertyuiopasdfghjklzxcvbnm",
            "zxcvbnmasdfghjklqwertyuiop",
            "thequickbrownfox",
        ] {
            assert!(is_common(password, &[]), "{password}");
        }
    }

    #[test]
    fn accepts_uncommon_passwords() {
        for password in
            ["correct horse battery", "k7#Qm!v2xZp0aWd", "my dog eats homework", "verysecretplan of mine"]
        {
            assert!(!is_common(password, &[]), "{password}");
        }
    }

    #[test]
    fn recognizes_the_users_own_address() {
        let (password, email) = ("Zuleika.Dobson@Example.com 1", "zuleika.dobson@example.com");
        assert!(!is_common(password, &[]) && is_common(password, &[email]));
    }
}
