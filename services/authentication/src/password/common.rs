//! Common passwords of 15 and more characters, which a dictionary attack tries first.

/// Words that are common alone, repeated, combined, or with digits around them.
const WORDS: [&str; 40] = [
    "abc",
    "abcdef",
    "abcdefghijklmnop",
    "admin",
    "administrator",
    "asdf",
    "asdfghjkl",
    "baseball",
    "changeme",
    "default",
    "dragon",
    "football",
    "guest",
    "hello",
    "helloworld",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "monkey",
    "passphrase",
    "passw0rd",
    "password",
    "princess",
    "qazwsx",
    "qwer",
    "qwert",
    "qwerty",
    "qwertyuiop",
    "root",
    "secret",
    "sunshine",
    "superman",
    "test",
    "trustno1",
    "user",
    "verysecret",
    "weft",
    "welcome",
    "zxcvbnm",
];

/// Longer passwords that are common as they are.
const WHOLE: [&str; 12] = [
    "thisismypassword",
    "mypasswordissecret",
    "correcthorsebatterystaple",
    "qwertyuiopasdfghjkl",
    "1q2w3e4r5t6y7u8i9o",
    "1qaz2wsx3edc4rfv",
    "1qaz2wsx3edc4rfv5tgb",
    "q1w2e3r4t5y6u7i8o9p0",
    "asdfghjklqwertyuiop",
    "qwertyuiopasdfghjklzxcvbnm",
    "zxcvbnmasdfghjklqwertyuiop",
    "thequickbrownfox",
];

/// Ignores case, spaces and punctuation.
pub(super) fn is_common(password: &str) -> bool {
    let plain: String = password.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    // Empty: only punctuation, such as `---------------`.
    if plain.is_empty() || WHOLE.contains(&plain.as_str()) || is_repeated(&plain) || is_sequence(&plain) {
        return true;
    }
    let letters = plain.trim_matches(|c: char| c.is_ascii_digit());
    letters.is_empty() || is_made_of_words(letters)
}

/// Up to four characters, repeated.
fn is_repeated(plain: &str) -> bool {
    let characters: Vec<char> = plain.chars().collect();
    (1..=4).any(|period| characters.iter().zip(characters.iter().skip(period)).all(|(a, b)| a == b))
}

/// `abcdefghijklmno`, `012345678901234` and the like, forwards or backwards.
fn is_sequence(plain: &str) -> bool {
    let steps = |by: i32| {
        plain.chars().zip(plain.chars().skip(1)).all(|(a, b)| {
            let step = b as i32 - a as i32;
            step == by || (a, b) == ('9', '0') || (a, b) == ('0', '9')
        })
    };
    steps(1) || steps(-1)
}

/// One or several words in a row, with digits between them, and nothing left over.
fn is_made_of_words(letters: &str) -> bool {
    letters.is_empty()
        || WORDS.iter().any(|word| {
            letters
                .strip_prefix(word)
                .is_some_and(|rest| is_made_of_words(rest.trim_start_matches(|c: char| c.is_ascii_digit())))
        })
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
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn accepts_uncommon_passwords() {
        for password in
            ["correct horse battery", "k7#Qm!v2xZp0aWd", "my dog eats homework", "verysecretplan of mine"]
        {
            assert!(!is_common(password), "{password}");
        }
    }
}
