"""Train a support vector classifier on handwritten digits: train.py GAMMA C SEED.

Prints one line of JSON: the share of unseen digits that it reads rightly, from 0 to 1.
"""

import json
import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

gamma, c, seed = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
images, digits = load_digits(return_X_y=True)
seen_images, new_images, seen_digits, new_digits = train_test_split(
    images, digits, test_size=0.5, random_state=seed, stratify=digits
)
classifier = SVC(gamma=gamma, C=c).fit(seen_images, seen_digits)
accuracy = float(classifier.score(new_images, new_digits))
print(json.dumps({"accuracy": round(accuracy, 4)}))
