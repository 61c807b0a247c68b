"""Videos as users have them: files, folders of images, their colours, their turns and their pace."""
