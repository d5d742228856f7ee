"""Makes thumbnails of rendered images and checks the images for damage. No trio here.

Code that reads images runs in separate processes: ``python -m trio_afrender.thumbnail IMAGE THUMB``
as a command, ``thumbnail.worker`` for an agent (its client is `task.image_worker`), and
``thumbnail.contact_sheet`` for the command line. The agent itself imports neither OpenImageIO nor
numpy.
"""
