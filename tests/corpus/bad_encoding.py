# expect: syntax-error
# airflow dag
x = 'ÿþ'
