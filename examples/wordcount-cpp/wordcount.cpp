// Counts the words of a text, but for those in /common.txt, which comes with the algorithm.
//
//     wordcount TEXT [HOW_MANY]
//
// Leaves /results/words.csv (the most frequent words) and /results/lengths.csv (how many words
// have how many letters), and prints a summary as JSON.

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <sys/stat.h>
#include <vector>

static std::vector<std::string> words_of(std::istream &text) {
  std::vector<std::string> words(1);
  for (char letter; text.get(letter);) {
    const auto byte = static_cast<unsigned char>(letter);
    // letters beyond ASCII are several bytes in UTF-8, all of them with the highest bit
    if (std::isalpha(byte) || byte >= 0x80) {
      words.back() += static_cast<char>(std::tolower(byte));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

static size_t letters_of(const std::string &word) {
  return std::count_if(word.begin(), word.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
}

int main(int count, char **arguments) {
  if (count < 2) {
    std::cerr << "wordcount TEXT [HOW_MANY]: the path of a text is missing\n";
    return 2;
  }
  std::ifstream text(arguments[1]);
  if (!text) {
    std::cerr << "wordcount: cannot read " << arguments[1] << "\n";
    return 1;
  }
  const size_t shown = count > 2 ? std::strtoul(arguments[2], nullptr, 10) : 10;

  std::ifstream common_file("/common.txt");
  const auto common_words = words_of(common_file);
  const std::set<std::string> common(common_words.begin(), common_words.end());

  std::map<std::string, size_t> frequency;
  std::map<size_t, size_t> lengths;
  size_t all = 0;
  for (const auto &word : words_of(text)) {
    all++;
    lengths[letters_of(word)]++;
    if (!common.count(word)) frequency[word]++;
  }

  std::vector<std::pair<std::string, size_t>> ranked(frequency.begin(), frequency.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto &a, const auto &b) { return a.second > b.second; });

  mkdir("/results", 0777);
  std::ofstream words_file("/results/words.csv");
  words_file << "word,count\n";
  for (size_t i = 0; i < std::min(shown, ranked.size()); i++) {
    words_file << ranked[i].first << "," << ranked[i].second << "\n";
  }
  std::ofstream lengths_file("/results/lengths.csv");
  lengths_file << "letters,words\n";
  for (const auto &[letters, words] : lengths) lengths_file << letters << "," << words << "\n";

  std::cout << "{\"words\": " << all << ", \"different\": " << ranked.size() << ", \"first\": \""
            << (ranked.empty() ? "" : ranked[0].first) << "\"}\n";
  return 0;
}
