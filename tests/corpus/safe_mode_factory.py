import factory

factory.make('north')
