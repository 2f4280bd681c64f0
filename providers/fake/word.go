package fake

import (
	"fmt"
	"slices"
	"strings"
)

// checkWord returns why a word is none of those that are known, or "": it names the
// nearest of them, and all.
func checkWord[W ~string](what string, word W, known []W) string {
	if slices.Contains(known, word) {
		return ""
	}
	reason := fmt.Sprintf("is no %s: %q", what, string(word))
	if near := nearest(word, known); len(near) > 0 {
		reason += "; did you mean " + quoted(near, " or ") + "? All are: "
	} else {
		reason += "; all are: "
	}
	return reason + quoted(known, ", ")
}

// nearest lists the words that another may be meant for: those that differ by a
// letter or two, or else those of which the part behind the slash does.
func nearest[W ~string](word W, known []W) []W {
	var near []W
	for _, part := range []func(W) string{func(w W) string { return string(w) }, lastPart[W]} {
		text := letters(part(word))
		best := min(2, len(text)/3)
		for _, other := range known {
			switch d := distance(text, letters(part(other))); {
			case d < best:
				near, best = []W{other}, d
			case d == best:
				near = append(near, other)
			}
		}
		if len(near) > 0 {
			break
		}
	}
	return near
}

func lastPart[W ~string](word W) string {
	return string(word[strings.LastIndexByte(string(word), '/')+1:])
}

// letters is text in lower case and without what people put between words.
func letters(text string) string {
	return strings.NewReplacer(" ", "", "-", "", "_", "").Replace(strings.ToLower(text))
}

// distance is how many bytes must be changed, put in or left out to get from one
// text to the other.
func distance(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			changed := diagonal
			if from[i] != to[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}

func quoted[W ~string](words []W, separator string) string {
	texts := make([]string, len(words))
	for n, word := range words {
		texts[n] = fmt.Sprintf("%q", string(word))
	}
	return strings.Join(texts, separator)
}
