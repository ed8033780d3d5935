"""The second pass over a video: emptied frames with avatars, refined avatars, and the files of both layers.

The three parts are generators. They run in one process, frame by frame (`layers.write_layers`), or in pools
of their own with files between them (`stored`). The bytes of the output are the same.
"""
