"""The words of the dialogues, and nothing else. What is not in these tables, pocket has never read."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """
    Ada Ben Clara Dan Eva Finn Grace Hugo Iris Jack Kate Leo Mia Noah Olga Paul Quinn Rosa Sam Tara Uma Victor Wendy
    Xavier Yara Zoe Alice Boris Carmen Diego Elena Farid Gina Hana Ivan Jade Kofi Lena Marco Nina Omar Priya Rita Sven
    Tom Ursula Vera Will Yuki Zack Amir Bella Cleo Dora Emil Flora George Helen Igor Julia Karl Lucy Max Nora Otto Petra
    Ray Sara Theo Ella Anna Oscar Ruth Felix Maya Simon Laura Peter Susan David Maria Robert Linda Kevin Emma Liam Chloe
    """
)
PETS = _words("dog cat rabbit parrot hamster turtle goldfish pony lizard duck")
PET_NAMES = _words(
    """
    Rex Bella Coco Daisy Pip Luna Milo Nugget Olive Pepper Rocky Shadow Ziggy Biscuit Cookie Ginger Mango Snowy Sunny
    Tiger Waffles Buddy Peanut Misty Ollie Socks Bruno Honey Jasper Lucky
    """
)
COLORS = _words("red blue green yellow orange purple pink brown black white grey gold silver turquoise")
FOODS = _words(
    """
    pizza pasta rice soup bread cheese apples bananas pancakes salad chocolate noodles curry tacos dumplings cake grapes
    olives honey sushi
    """
)
SPORTS = _words(
    """
    football tennis swimming running cycling chess basketball hockey sailing climbing dancing skiing boxing golf
    """
)
CITIES = _words(
    """
    Paris London Rome Madrid Berlin Vienna Oslo Lisbon Athens Dublin Prague Warsaw Tokyo Cairo Lima Quito Delhi Seoul
    Toronto Boston Sydney Lagos Nairobi Havana Kyoto Milan Porto Zurich Munich Chicago
    """
)
JOBS = _words(
    """
    teacher doctor baker farmer pilot painter singer nurse gardener writer driver cook builder sailor tailor chemist
    lawyer dentist musician programmer
    """
)
NUMBERS = tuple(str(number) for number in range(2, 100))

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Austria": "Vienna", "Norway": "Oslo",
    "Portugal": "Lisbon", "Greece": "Athens", "Ireland": "Dublin", "Poland": "Warsaw", "Japan": "Tokyo",
    "Egypt": "Cairo", "Peru": "Lima", "Ecuador": "Quito", "India": "New Delhi", "Canada": "Ottawa",
    "Australia": "Canberra", "Kenya": "Nairobi", "Cuba": "Havana", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Belgium": "Brussels", "Hungary": "Budapest", "Romania": "Bucharest", "Bulgaria": "Sofia",
    "Turkey": "Ankara", "Russia": "Moscow", "China": "Beijing", "Thailand": "Bangkok", "Vietnam": "Hanoi",
    "Chile": "Santiago", "Brazil": "Brasilia", "Mexico": "Mexico City", "Argentina": "Buenos Aires",
    "Colombia": "Bogota", "Ghana": "Accra", "Morocco": "Rabat", "Iceland": "Reykjavik", "England": "London",
    "Scotland": "Edinburgh", "Ukraine": "Kyiv", "Serbia": "Belgrade", "Croatia": "Zagreb", "Nepal": "Kathmandu",
}  # fmt: skip
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("up", "down"), ("day", "night"), ("happy", "sad"),
    ("light", "dark"), ("full", "empty"), ("open", "closed"), ("early", "late"), ("hard", "soft"), ("high", "low"),
    ("young", "old"), ("rich", "poor"), ("strong", "weak"), ("wet", "dry"), ("thick", "thin"), ("loud", "quiet"),
    ("clean", "dirty"), ("near", "far"), ("left", "right"), ("first", "last"), ("true", "false"),
    ("inside", "outside"), ("begin", "end"), ("push", "pull"), ("buy", "sell"), ("win", "lose"), ("sweet", "sour"),
    ("brave", "afraid"),
)  # fmt: skip
PLURALS = {
    "cat": "cats", "dog": "dogs", "box": "boxes", "child": "children", "mouse": "mice", "foot": "feet",
    "tooth": "teeth", "leaf": "leaves", "city": "cities", "bus": "buses", "man": "men", "woman": "women",
    "fish": "fish", "sheep": "sheep", "baby": "babies", "knife": "knives", "tree": "trees", "book": "books",
    "star": "stars", "wolf": "wolves", "berry": "berries", "house": "houses", "goose": "geese",
}  # fmt: skip
SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "horse": "neigh", "pig": "oink",
    "lion": "roar", "frog": "ribbit", "bee": "buzz", "owl": "hoot", "snake": "hiss", "crow": "caw", "mouse": "squeak",
}  # fmt: skip
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
WORDS = _words(
    """
    cat dog sun moon tree star fish bird home rain snow wind river stone cloud apple bread chair table light green happy
    music water world dream smile plant house ocean garden window flower summer winter bottle button candle castle
    dragon engine forest island jacket kitten lemon market needle orange pencil rabbit silver ticket valley yellow
    """
)

HEROES = _words(
    """
    fox rabbit bear owl mouse frog cat dog hedgehog squirrel duck pony robot dragon wizard girl boy prince princess
    farmer
    """
)
TRAITS = _words("small brave shy curious kind clever lonely cheerful sleepy hungry proud quiet")
PLACES = _words("forest village castle garden valley river island mountain meadow cave harbour city")
PLACE_TRAITS = ("quiet", "little", "sunny", "green")
OBJECTS = _words("lamp key map book bell ring boat kite drum mirror seed stone hat coin feather lantern")
OBJECT_TRAITS = ("old", "shiny", "broken", "golden")

#: Lists in an order of their own, of which the first are named.
ORDERED_LISTS = {
    "planets": ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"),
    "numbers": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "days": DAYS,
    "months": MONTHS,
}
#: Lists without one, of which any are named.
LISTS = {
    "fruits": ("apple", "banana", "pear", "grape", "lemon", "plum", "cherry", "peach", "mango"),
    "colours": COLORS[:10],
    "animals": ("dog", "cat", "horse", "lion", "bear", "fox", "owl", "frog", "duck"),
    "vegetables": ("carrot", "potato", "onion", "pea", "bean", "cabbage", "leek"),
}

GREETINGS = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hello", "Hello! How can I help you?"),
    ("Hello.", "Hello! How can I help you?"),
    ("Hi", "Hi there! What can I do for you?"),
    ("Hi!", "Hi there! What can I do for you?"),
    ("Hi.", "Hi there! What can I do for you?"),
    ("Hey there!", "Hi there! What can I do for you?"),
    ("Hey", "Hi there! What can I do for you?"),
    ("Good morning!", "Good morning! I hope you slept well."),
    ("How are you?", "I am fine, thank you. How are you?"),
    ("Who are you?", "I am Pocket, a tiny Griffin model that runs at the edge."),
    ("What are you?", "I am Pocket, a small language model with a fixed-size state."),
    ("What can you do?", "I can remember what you tell me, tell stories, count, add numbers and name capitals."),
    ("Are you a person?", "No, I am a small language model."),
    ("What is your name?", "My name is Pocket."),
    ("How large is your memory?", "My state has a fixed size, however long we talk."),
)
REMARKS = (
    ("Thank you!", "You are welcome!"),
    ("Thanks.", "You are welcome!"),
    ("That is great.", "I am glad that you like it."),
    ("Goodbye!", "Goodbye! Come back soon."),
    ("I am tired.", "Then take a rest. I will be here."),
    ("I am happy today.", "That is good to hear!"),
    ("I am sad.", "I am sorry to hear that. Shall I tell you a story?"),
    ("It is raining.", "Then it is a good day to stay inside."),
)
