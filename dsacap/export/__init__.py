"""A trained system as one folder that can be carried away: `dsacap export` writes it, `dsacap caption` and `dsacap.load` read it.

index.json             every file that is read, with its size and hash; checked before anything is used
model.json             captioner, sizes, decodings, encoder (description.py)
vocabulary.json        the words it can say; specials first
captioner.safetensors  its weights
statistics.safetensors mean and deviation of the encoder's channels over the train split
encoder...             weights of the photo encoder, unless open_clip knows them by a tag (encoders.py)
memory.safetensors     what the system looks up in the train split, if it does
manifest.json          how all this was made: the manifest of every stage behind it
README.md              the model card (card.py)

Nothing in it is code or a pickle, and no name in it leads out of the folder.
"""
