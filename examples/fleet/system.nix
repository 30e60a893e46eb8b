"x86_64-linux" # the platform of every host: the one line to edit for another architecture
